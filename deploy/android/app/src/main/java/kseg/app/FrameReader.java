package kseg.app;

import android.graphics.Rect;
import androidx.camera.core.ImageAnalysis;
import androidx.camera.core.ImageProxy;
import java.util.function.Consumer;
import kseg.core.CameraFrames;
import kseg.core.Image;
import kseg.core.InputException;
import kseg.core.Session;
import kseg.core.Size;

/** Passes CameraX's frames to the session, upright and cropped to what the preview shows. */
final class FrameReader implements ImageAnalysis.Analyzer {
    private final Session session;
    private final Consumer<String> errors;
    private final Image frame = new Image();

    FrameReader(Session session, Consumer<String> errors) {
        this.session = session;
        this.errors = errors;
    }

    @Override
    public void analyze(ImageProxy image) {
        long start = System.nanoTime();
        try (image) {
            if (!session.ready()) return;
            Rect window = image.getCropRect();
            ImageProxy.PlaneProxy plane = image.getPlanes()[0];
            CameraFrames.upright(
                    plane.getBuffer(), plane.getRowStride(), plane.getPixelStride(), window.top,
                    window.left, new Size(window.height(), window.width()),
                    image.getImageInfo().getRotationDegrees(), frame);
        } catch (InputException error) {
            errors.accept(error.getMessage());
            return;
        }
        session.segment(frame, start); // The camera's buffer has been released.
    }
}
