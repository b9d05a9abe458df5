package kseg.core;

import java.util.Arrays;

/** Times of the latest frames. */
public final class Latency {
    private final double[] times;
    private long count;

    public Latency(int frames) {
        times = new double[frames];
    }

    public void add(double milliseconds) {
        times[(int) (count++ % times.length)] = milliseconds;
    }

    /** Median of these times, as numpy.median; NaN before the first frame. */
    public double median() {
        int size = (int) Math.min(count, times.length);
        if (size == 0) return Double.NaN;
        double[] sorted = Arrays.copyOf(times, size);
        Arrays.sort(sorted);
        return (sorted[(size - 1) / 2] + sorted[size / 2]) / 2;
    }
}
