"""Export: conversion to .tflite, linting, and verification against the Keras model."""
