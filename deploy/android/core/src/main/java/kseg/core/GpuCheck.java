package kseg.core;

/**
 * The comparison of a GPU's class map with the CPU's. deploy/README.md has the rule, which is the
 * same in Python and C++.
 */
final class GpuCheck {
    /** Smallest share of equal pixels: kseg.export's limit for fp16, a GPU's precision. */
    static final double MIN_AGREEMENT = 0.995;
    private static final double MIN_CONTRAST = 8; // Standard deviation of the green values, 0..255.

    /** The part of the model's input that shows the frame: without letterbox bars. */
    static final class Region {
        final int top, left, height, width;

        Region(int top, int left, int height, int width) {
            this.top = top;
            this.left = left;
            this.height = height;
            this.width = width;
        }

        static Region of(Size frame, Size input, Fit fit) {
            FrameFitter.Placement place = FrameFitter.placement(frame, input, fit);
            int top = Math.max(place.top, 0), left = Math.max(place.left, 0);
            return new Region(
                    top, left, Math.min(place.top + place.size.height, input.height) - top,
                    Math.min(place.left + place.size.width, input.width) - left);
        }

        double area() {
            return (double) height * width;
        }
    }

    /** Of one frame. */
    static final class Comparison {
        static final Comparison PASSED_OVER = new Comparison(Double.NaN);
        final double agreement; // 0..1; NaN: passed over, the frame shows nothing.

        Comparison(double agreement) {
            this.agreement = agreement;
        }
    }

    private GpuCheck() {}

    /** False for a frame that is black, white, or otherwise of one brightness. */
    static boolean hasContrast(Image rgb, Region region) {
        long sum = 0, squares = 0;
        for (int y = 0; y < region.height; y++) {
            int at = (region.top + y) * rgb.rowBytes() + 3 * region.left + 1;
            for (int x = 0; x < region.width; x++, at += 3) {
                int green = rgb.data()[at] & 0xFF;
                sum += green;
                squares += green * green;
            }
        }
        double mean = sum / region.area();
        return squares / region.area() - mean * mean >= MIN_CONTRAST * MIN_CONTRAST;
    }

    /** input: the model's, RGB; the others: class ids of its size. */
    static Comparison compare(Image input, Image gpu, Image cpu, Region region) {
        long[] counts = new long[256];
        long equal = 0, most = 0;
        for (int y = 0; y < region.height; y++) {
            int at = (region.top + y) * cpu.rowBytes() + region.left;
            for (int x = 0; x < region.width; x++, at++) {
                counts[cpu.data()[at] & 0xFF]++;
                if (gpu.data()[at] == cpu.data()[at]) equal++;
            }
        }
        for (long count : counts) most = Math.max(most, count);
        double agreement = equal / region.area();
        boolean oneClass = most >= MIN_AGREEMENT * region.area();
        // A GPU that returned one class for every frame would agree too.
        boolean showsNothing = oneClass && agreement >= MIN_AGREEMENT;
        return showsNothing || !hasContrast(input, region)
                ? Comparison.PASSED_OVER : new Comparison(agreement);
    }
}
