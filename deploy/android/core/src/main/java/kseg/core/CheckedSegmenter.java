package kseg.core;

/**
 * A segmenter on an accelerator that has yet to prove itself: on the first frame it and the CPU are
 * both asked. Where they differ on too many pixels the CPU does the work from then on, else it
 * goes. GPU drivers answer wrongly without a word, and none of LiteRT's return codes tells.
 */
public final class CheckedSegmenter implements AutoCloseable {
    /** Smallest share of equal pixels, as kseg.export asks of fp16, in which GPUs compute. */
    public static final double LIMIT = 0.995;

    private Segmenter segmenter;
    private Segmenter reference; // Until the first frame; null without a need for proof.
    private double agreement = Double.NaN;
    private final Image ids = new Image(), expected = new Image();

    /** Both are taken over. `reference` runs on the CPU; null when `segmenter` does. */
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
            boolean right = agreement >= LIMIT;
            (right ? reference : segmenter).close();
            if (!right) {
                segmenter = reference;
                System.arraycopy(expected.data(), 0, ids.data(), 0, expected.data().length);
            }
            reference = null;
        }
        segmenter.unfit(ids, frame.size(), classMap);
    }

    /** Share of pixels on which both agreed on the first frame; NaN before it, or without proof. */
    public double agreement() {
        return agreement;
    }

    /** True when the accelerator was found to answer otherwise than the CPU. */
    public boolean rejected() {
        return agreement < LIMIT;
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
