package kseg.core;

import java.util.Arrays;

/**
 * RGB resizing, bit-exact with OpenCV: INTER_AREA when both sides shrink, else INTER_LINEAR.
 *
 * <p>It repeats the arithmetic of OpenCV's modules/imgproc/src/resize.cpp step by step, in float,
 * rounded after each operation, which Java guarantees.
 */
final class Resize {
    private static final double SLIVER = 1e-3; // OpenCV ignores smaller shares of a pixel.
    private static final double EPSILON = Math.ulp(1.0);

    private Resize() {}

    static void resize(Image from, Image to) {
        Size old = from.size(), size = to.size();
        double scaleY = scale(old.height, size.height), scaleX = scale(old.width, size.width);
        if (size.height > old.height || size.width > old.width) {
            linear(from, to);
        } else if (isInteger(scaleY) && isInteger(scaleX)) {
            areaInteger(from, (int) Math.rint(scaleY), (int) Math.rint(scaleX), to);
        } else {
            area(from, to);
        }
    }

    private static double scale(int from, int to) {
        return 1.0 / ((double) to / from);
    }

    /** OpenCV's test, for which 1 / (1 / 98) is not an integer. */
    private static boolean isInteger(double scale) {
        return Math.abs(scale - Math.rint(scale)) < EPSILON;
    }

    private static byte roundToByte(float value) {
        return (byte) Math.max(0, Math.min(255, (int) Math.rint(value))); // Half to even.
    }

    /** Weights of source pixels in target pixels, along one axis, when shrinking. */
    private static final class AreaWeights {
        int count;
        int[] to, from;
        float[] weight;

        AreaWeights(int fromSide, int toSide) {
            int capacity = fromSide + 2 * toSide;
            to = new int[capacity];
            from = new int[capacity];
            weight = new float[capacity];
            double scale = scale(fromSide, toSide);
            for (int target = 0; target < toSide; target++) {
                double start = target * scale, end = start + scale;
                double cell = Math.min(scale, fromSide - start);
                int last = Math.min((int) Math.floor(end), fromSide - 1);
                int first = Math.min((int) Math.ceil(start), last);
                if (first - start > SLIVER) add(target, first - 1, (first - start) / cell);
                for (int source = first; source < last; source++) add(target, source, 1.0 / cell);
                if (end - last > SLIVER) {
                    double covered = Math.min(Math.min(end - last, 1.0), cell);
                    add(target, last, covered / cell);
                }
            }
        }

        private void add(int target, int source, double share) {
            to[count] = target;
            from[count] = source;
            weight[count++] = (float) share;
        }
    }

    private static void area(Image from, Image out) {
        AreaWeights columns = new AreaWeights(from.size().width, out.size().width);
        AreaWeights rows = new AreaWeights(from.size().height, out.size().height);
        float[] row = new float[out.rowBytes()], sum = new float[out.rowBytes()];
        byte[] target = out.data();
        for (int r = 0; r < rows.count; r++) {
            shrink(from.data(), rows.from[r] * from.rowBytes(), columns, row);
            boolean first = r == 0 || rows.to[r - 1] != rows.to[r];
            float weight = rows.weight[r];
            for (int i = 0; i < sum.length; i++) {
                sum[i] = first ? weight * row[i] : sum[i] + weight * row[i];
            }
            if (r + 1 == rows.count || rows.to[r + 1] != rows.to[r]) {
                int at = rows.to[r] * out.rowBytes();
                for (int i = 0; i < sum.length; i++) target[at + i] = roundToByte(sum[i]);
            }
        }
    }

    /** Shrinks one row. Sums are local variables, which is faster than summing in the array. */
    private static void shrink(byte[] source, int line, AreaWeights columns, float[] row) {
        for (int i = 0; i < columns.count; ) {
            int to = columns.to[i];
            float red = 0, green = 0, blue = 0;
            for (; i < columns.count && columns.to[i] == to; i++) {
                int at = line + 3 * columns.from[i];
                float weight = columns.weight[i];
                red += (source[at] & 0xFF) * weight;
                green += (source[at + 1] & 0xFF) * weight;
                blue += (source[at + 2] & 0xFF) * weight;
            }
            row[3 * to] = red;
            row[3 * to + 1] = green;
            row[3 * to + 2] = blue;
        }
    }

    /** An integer number of source pixels per target pixel along both axes: their mean. */
    private static void areaInteger(Image from, int factorY, int factorX, Image out) {
        boolean quad = factorY == 2 && factorX == 2; // OpenCV rounds this case half up.
        float share = 1.0f / (factorY * factorX);
        int[] sums = new int[out.rowBytes()];
        byte[] source = from.data(), target = out.data();
        for (int y = 0; y < out.size().height; y++) {
            Arrays.fill(sums, 0);
            for (int dy = 0; dy < factorY; dy++) {
                int at = (y * factorY + dy) * from.rowBytes();
                for (int to = 0; to < sums.length; to += 3) {
                    for (int dx = 0; dx < factorX; dx++, at += 3) {
                        sums[to] += source[at] & 0xFF;
                        sums[to + 1] += source[at + 1] & 0xFF;
                        sums[to + 2] += source[at + 2] & 0xFF;
                    }
                }
            }
            int at = y * out.rowBytes();
            for (int i = 0; i < sums.length; i++) {
                target[at + i] = quad ? (byte) ((sums[i] + 2) >> 2) : roundToByte(sums[i] * share);
            }
        }
    }

    /** Two neighbours, and their weights in 1/2048, for each target pixel along one axis. */
    private static final class Taps {
        final int[] first, second, weightFirst, weightSecond;

        Taps(int fromSide, int toSide, boolean clampFraction) {
            first = new int[toSide];
            second = new int[toSide];
            weightFirst = new int[toSide];
            weightSecond = new int[toSide];
            double scale = scale(fromSide, toSide);
            for (int to = 0; to < toSide; to++) {
                float fraction = (float) ((to + 0.5) * scale - 0.5);
                int left = (int) Math.floor(fraction);
                fraction -= left;
                if (clampFraction && (left < 0 || left >= fromSide - 1)) fraction = 0;
                first[to] = Math.max(0, Math.min(left, fromSide - 1));
                second[to] = Math.max(0, Math.min(left + 1, fromSide - 1));
                weightFirst[to] = (int) Math.rint((1.0f - fraction) * 2048.0f);
                weightSecond[to] = (int) Math.rint(fraction * 2048.0f);
            }
        }
    }

    private static void linear(Image from, Image out) {
        Taps columns = new Taps(from.size().width, out.size().width, true);
        Taps rows = new Taps(from.size().height, out.size().height, false);
        int[] above = new int[out.rowBytes()], below = new int[out.rowBytes()];
        int aboveRow = -1, belowRow = -1;
        byte[] target = out.data();
        for (int y = 0; y < out.size().height; y++) {
            if (rows.first[y] != aboveRow && rows.first[y] == belowRow) {
                int[] swapped = above;
                above = below;
                below = swapped;
                aboveRow = belowRow;
                belowRow = -1;
            }
            if (rows.first[y] != aboveRow) {
                aboveRow = rows.first[y];
                stretch(from, aboveRow, columns, above);
            }
            if (rows.second[y] != belowRow) {
                belowRow = rows.second[y];
                stretch(from, belowRow, columns, below);
            }
            int at = y * out.rowBytes();
            for (int i = 0; i < above.length; i++) {
                int top = rows.weightFirst[y] * (above[i] >> 4) >> 16;
                int bottom = rows.weightSecond[y] * (below[i] >> 4) >> 16;
                target[at + i] = (byte) ((top + bottom + 2) >> 2);
            }
        }
    }

    private static void stretch(Image from, int y, Taps columns, int[] to) {
        byte[] source = from.data();
        int line = y * from.rowBytes();
        for (int i = 0; i < to.length; i++) {
            int x = i / 3, channel = line + i % 3;
            to[i] = (source[channel + 3 * columns.first[x]] & 0xFF) * columns.weightFirst[x]
                    + (source[channel + 3 * columns.second[x]] & 0xFF) * columns.weightSecond[x];
        }
    }
}
