import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

// Stand-ins for the browser. Each graph answers after 20 ms; seconds last a hundredth.
const later = globalThis.setTimeout
const sleep = (ms) => new Promise((resolve) => later(resolve, ms))
const posted = []
globalThis.setTimeout = (call, ms) => later(call, ms >= 1000 ? ms / 100 : ms)
globalThis.self = globalThis
globalThis.postMessage = (message) => posted.push(message)
globalThis.OffscreenCanvas = class {
  getContext() {
    const data = (count) => new Uint8ClampedArray(count).map((_, i) => (i * 37) % 256)
    return { drawImage() {}, getImageData: (x, y, w, h) => ({ data: data(4 * w * h) }) }
  }
}
globalThis.Worker = class {
  postMessage({ id, do: what, input }) {
    const ids = () => new Uint8Array(input.length / 3).map((_, i) => i % 2)
    const result = what === 'load' ? { threads: 1, adapter: 'a GPU' } : ids()
    later(() => this.ended || this.onmessage({ data: { id, result } }), 20)
  }
  terminate() {
    this.ended = true
  }
}

await import('../src/segmenter.worker.js')
const bytes = new Uint8Array(readFileSync('../../tests/golden/model.tflite'))
const send = (data) => globalThis.onmessage({ data })
const load = (name) => send({ do: 'load', bytes, name, device: 'gpu', base: 'http://localhost/' })
const segment = () => send({ do: 'segment', bitmap: { width: 32, height: 18 }, rows: [], arrived: 0 })
const types = () => posted.splice(0).map(({ type, name }) => (type === 'model' ? name : type))

test('a model that is chosen while a frame is in the other one gets no errors of that', async () => {
  await load('first.tflite')
  await segment() // From here on the GPU is trusted.
  segment()
  await sleep(5)
  await load('second.tflite')
  await segment()
  await sleep(1500) // Longer than any time limit.
  assert.deepEqual(types(), ['first.tflite', 'frame', 'second.tflite', 'frame'])
})

test('of two models that are chosen at once, the second is used', async () => {
  load('first.tflite')
  await sleep(30) // Its CPU is ready, its GPU is not.
  await load('second.tflite')
  await segment()
  await sleep(1500)
  assert.deepEqual(types(), ['second.tflite', 'frame'])
})
