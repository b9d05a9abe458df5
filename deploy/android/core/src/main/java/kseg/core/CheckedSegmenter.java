package kseg.core;

/**
 * A segmenter on an accelerator, compared with the CPU on the first frame. If they differ on too
 * many pixels, the CPU is used from then on; else it is closed. This is needed because GPU drivers
 * can be silently wrong, which no return code of LiteRT shows.
 */
public final class CheckedSegmenter implements AutoCloseable {
    /** Smallest share of equal pixels: kseg.export's limit for fp16, a GPU's precision. */
    public static final double MIN_AGREEMENT = 0.995;

    private Segmenter segmenter;
    private Segmenter reference; // Until the first frame; null if there is nothing to compare.
    private double agreement = Double.NaN;
    private final Image ids = new Image(), expected = new Image();

    /** Takes ownership of both. `reference` runs on the CPU; null if `segmenter` does. */
    public CheckedSegmenter(Segmenter segmenter, Segmenter reference) {
        this.segmenter = segmenter;
        this.reference = reference;
    }

    /** RGB frame of any size -> class ids of the frame's size. */
    public void run(Image frame, Image classMap) throws InputException {
        Image fitted = segmenter.fit(frame);
        segmenter.runFitted(fitted, ids);
        if (reference != null) {
            reference.runFitted(fitted, expected);
            agreement = agreement(ids, expected);
            boolean accepted = agreement >= MIN_AGREEMENT;
            (accepted ? reference : segmenter).close();
            if (!accepted) {
                segmenter = reference;
                System.arraycopy(expected.data(), 0, ids.data(), 0, expected.data().length);
            }
            reference = null;
        }
        segmenter.unfit(ids, frame.size(), classMap);
    }

    /** Share of equal pixels on the first frame; NaN before it, or if nothing was compared. */
    public double agreement() {
        return agreement;
    }

    /** Whether the accelerator disagreed with the CPU. */
    public boolean rejected() {
        return agreement < MIN_AGREEMENT;
    }

    public Contract contract() {
        return segmenter.contract();
    }

    static double agreement(Image one, Image other) {
        byte[] a = one.data(), b = other.data();
        int equal = 0;
        for (int i = 0; i < a.length; i++) {
            if (a[i] == b[i]) equal++;
        }
        return (double) equal / a.length;
    }

    @Override
    public void close() {
        segmenter.close();
        if (reference != null) reference.close();
    }
}
