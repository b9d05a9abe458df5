package kseg.core;

import java.io.File;
import java.util.Locale;

/**
 * One model after the other, on the CPU or the GPU, over a stream of frames. Whatever goes wrong
 * with the GPU ends on the CPU, and is said. For one thread; the listener is called on it.
 */
public final class Session {
    private static final int KEPT_TIMES = 100;

    /** The runtime: LiteRT in the app. */
    public interface Runtime {
        /** Fails when the accelerator cannot run all of the model. Errors name `name`. */
        Graph compile(Model model, boolean gpu, String name) throws InputException;
    }

    /** Who shows it. */
    public interface Listener {
        /**
         * A model is there; `onGpu` is where it runs, `note` why not where it was asked to, or "".
         */
        void onModel(String name, Contract contract, boolean onGpu, String note);

        /** Colours of a frame (ARGB), to be read before the call returns. */
        void onFrame(int[] argb, Size size);

        /**
         * Each frame: median milliseconds to a class map; agreement with the CPU, NaN on the CPU.
         */
        void onLatency(double milliseconds, double agreement);

        /** One line. Nothing runs, or what ran before runs on. */
        void onError(String message);

        /**
         * True before the GPU is touched, false when its first frame is done or it was given up;
         * may be told again. Who finds it true at the start knows that a driver took the app along.
         */
        void onTryingGpu(boolean trying);
    }

    private final Runtime runtime;
    private final Listener listener;
    private final Image classMap = new Image();
    private int[] argb = new int[0];
    private String name;
    private Model model;
    private CheckedSegmenter segmenter; // Null until a model is there.
    private Palette palette;
    private Latency latency;
    private boolean onGpu, proven;

    public Session(Runtime runtime, Listener listener) {
        this.runtime = runtime;
        this.listener = listener;
    }

    /** True when frames are of use. */
    public boolean ready() {
        return segmenter != null;
    }

    /** Takes another model. When it cannot be had, what ran before runs on. */
    public void load(File file, String newName, boolean wantGpu) {
        try {
            use(Model.open(file, newName), newName, wantGpu, "");
        } catch (InputException error) {
            listener.onError(error.getMessage());
        } catch (OutOfMemoryError error) {
            listener.onTryingGpu(false);
            listener.onError(newName + ": too large for this device's memory");
        }
    }

    private void use(Model newModel, String newName, boolean wantGpu, String note)
            throws InputException {
        Segmenter cpu = new Segmenter(newModel, runtime.compile(newModel, false, newName));
        Segmenter gpu = null;
        if (wantGpu) {
            listener.onTryingGpu(true);
            try {
                gpu = new Segmenter(newModel, runtime.compile(newModel, true, newName));
            } catch (InputException error) {
                note = error.getMessage() + "; running on the CPU";
            }
        }
        if (segmenter != null) segmenter.close();
        segmenter = gpu == null ? new CheckedSegmenter(cpu, null) : new CheckedSegmenter(gpu, cpu);
        onGpu = gpu != null;
        proven = !onGpu;
        listener.onTryingGpu(onGpu);
        model = newModel;
        name = newName;
        palette = new Palette(model.contract);
        latency = new Latency(KEPT_TIMES);
        listener.onModel(name, model.contract, onGpu, note);
    }

    /** RGB frame of any size; `start` is when work on it began, as System.nanoTime(). */
    public void segment(Image frame, long start) {
        if (segmenter == null) return;
        try {
            segmenter.run(frame, classMap);
        } catch (InputException error) {
            recover(error.getMessage());
            return;
        }
        if (proven) {
            latency.add((System.nanoTime() - start) / 1e6);
            listener.onLatency(latency.median(), onGpu ? segmenter.agreement() : Double.NaN);
        } else {
            prove(); // This frame ran twice: its time says nothing.
        }
        int pixels = classMap.data().length;
        if (argb.length != pixels) argb = new int[pixels];
        palette.paint(classMap, argb);
        listener.onFrame(argb, classMap.size());
    }

    private void prove() {
        proven = true;
        listener.onTryingGpu(false);
        if (!segmenter.rejected()) return;
        onGpu = false;
        String note = String.format(
                Locale.ROOT,
                "%s: the GPU answers as the CPU on only %.1f %% of the first frame's pixels (limit"
                        + " %.1f %%); running on the CPU",
                name, 100 * segmenter.agreement(), 100 * CheckedSegmenter.LIMIT);
        listener.onModel(name, model.contract, false, note);
    }

    /** A frame failed. The GPU gives way to the CPU; the CPU stops. */
    private void recover(String message) {
        if (onGpu) {
            try {
                use(model, name, false, message + "; running on the CPU");
                return;
            } catch (InputException error) {
                message = error.getMessage();
            }
        }
        close();
        listener.onError(message);
    }

    /** Lets the model go. */
    public void close() {
        if (segmenter == null) return;
        segmenter.close();
        segmenter = null;
        listener.onTryingGpu(false);
    }
}
