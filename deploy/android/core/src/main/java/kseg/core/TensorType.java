package kseg.core;

import java.util.Arrays;

/** Shape and element type of a graph's input or output. */
final class TensorType {
    final int[] shape;
    final DataType type;

    TensorType(int[] shape, DataType type) {
        this.shape = shape;
        this.type = type;
    }

    /** Number of elements. */
    long count() {
        long count = 1;
        for (int side : shape) count *= side;
        return count;
    }

    @Override
    public String toString() {
        String sides = Arrays.toString(shape);
        return "(" + sides.substring(1, sides.length() - 1) + ") " + type.label;
    }
}
