package kseg.app;

import android.graphics.Rect;
import androidx.camera.core.ImageAnalysis;
import androidx.camera.core.ImageProxy;
import com.google.ai.edge.litert.Accelerator;
import java.util.Locale;
import kseg.core.CheckedSegmenter;
import kseg.core.Contract;
import kseg.core.Frames;
import kseg.core.Image;
import kseg.core.InputException;
import kseg.core.Latency;
import kseg.core.Model;
import kseg.core.Palette;
import kseg.core.Segmenter;
import kseg.core.Size;

/**
 * All that touches a model or a frame. Everything runs on the worker's one thread, so nothing here is
 * locked, and frames that come while a model loads or an earlier frame runs are dropped by CameraX.
 */
final class FrameWorker implements ImageAnalysis.Analyzer {
    private static final int KEPT_TIMES = 100;
    private static final long REPORT_EVERY_NS = 500_000_000;

    /** Called on the worker's thread. */
    interface Listener {
        /** A model is there; `onGpu` is where it runs, and `note` why there, or empty. */
        void onModel(Contract contract, boolean onGpu, String note);

        /** Colours of a frame (ARGB), to be read before the call returns. */
        void onFrame(int[] argb, Size size);

        /** Median milliseconds from camera frame to class map, and what the GPU check said. */
        void onLatency(double milliseconds, String check);

        /** One line. */
        void onError(String message);
    }

    private final Settings settings;
    private final Listener listener;
    private final Image frame = new Image(), classMap = new Image();
    private int[] argb = new int[0];
    private Model model;
    private String name = "";
    private CheckedSegmenter segmenter; // Null until a model is there.
    private Palette palette;
    private Latency latency;
    private boolean onGpu, proven;
    private long reported;

    FrameWorker(Settings settings, Listener listener) {
        this.settings = settings;
        this.listener = listener;
    }

    /** Loads the kept model. On failure what ran before runs on. */
    void load(boolean wantGpu) {
        try {
            name = settings.modelName();
            use(Model.open(settings.model(), name), wantGpu, "");
        } catch (InputException error) {
            listener.onError(error.getMessage());
        } catch (OutOfMemoryError error) {
            listener.onError(name + ": too large for this device's memory");
        }
    }

    private void use(Model opened, boolean wantGpu, String note) throws InputException {
        Segmenter cpu = segmenter(opened, Accelerator.CPU);
        Segmenter gpu = null;
        if (wantGpu) {
            settings.setTryingGpu(true);
            try {
                gpu = segmenter(opened, Accelerator.GPU);
            } catch (InputException error) {
                settings.setTryingGpu(false);
                note = error.getMessage() + "; running on the CPU";
            }
        }
        if (segmenter != null) segmenter.close();
        segmenter = gpu == null ? new CheckedSegmenter(cpu, null) : new CheckedSegmenter(gpu, cpu);
        onGpu = gpu != null;
        proven = !onGpu;
        model = opened;
        palette = new Palette(opened.contract);
        latency = new Latency(KEPT_TIMES);
        listener.onModel(opened.contract, onGpu, note);
    }

    private Segmenter segmenter(Model opened, Accelerator accelerator) throws InputException {
        return new Segmenter(opened, LiteRtGraph.compile(opened, accelerator, name));
    }

    @Override
    public void analyze(ImageProxy image) {
        try (image) {
            if (segmenter != null) segment(image);
        } catch (InputException error) {
            recover(error.getMessage());
        }
    }

    private void segment(ImageProxy image) throws InputException {
        long start = System.nanoTime();
        Rect window = image.getCropRect();
        ImageProxy.PlaneProxy plane = image.getPlanes()[0];
        Frames.upright(
                plane.getBuffer(), plane.getRowStride(), plane.getPixelStride(), window.top,
                window.left, new Size(window.height(), window.width()),
                image.getImageInfo().getRotationDegrees(), frame);
        segmenter.run(frame, classMap);
        long end = System.nanoTime();
        if (proven) {
            latency.add((end - start) / 1e6);
        } else {
            prove(); // This frame ran twice: its time says nothing.
        }
        show(end);
    }

    private void prove() {
        settings.setTryingGpu(false);
        proven = true;
        if (!segmenter.rejected()) return;
        onGpu = false;
        listener.onModel(
                model.contract, false,
                String.format(
                        Locale.ROOT,
                        "%s: the GPU answers as the CPU on only %.1f %% of the first frame's pixels"
                                + " (limit %.1f %%); running on the CPU",
                        name, 100 * segmenter.agreement(), 100 * CheckedSegmenter.LIMIT));
    }

    private void show(long now) {
        int pixels = classMap.data().length;
        if (argb.length != pixels) argb = new int[pixels];
        palette.paint(classMap, argb);
        listener.onFrame(argb, classMap.size());
        if (now - reported < REPORT_EVERY_NS || Double.isNaN(latency.median())) return;
        reported = now;
        String check = onGpu
                ? String.format(
                        Locale.ROOT, "first frame as the CPU on %.2f %%", 100 * segmenter.agreement())
                : "";
        listener.onLatency(latency.median(), check);
    }

    /** A frame failed. The GPU gives way to the CPU; the CPU stops. */
    private void recover(String message) {
        settings.setTryingGpu(false);
        if (onGpu) {
            try {
                use(model, false, message + "; running on the CPU");
                return;
            } catch (InputException error) {
                message = error.getMessage();
            }
        }
        close();
        listener.onError(message);
    }

    void close() {
        if (segmenter != null) segmenter.close();
        segmenter = null;
        settings.setTryingGpu(false);
    }
}
