package kseg.app;

import android.hardware.display.DisplayManager;
import android.util.Size;
import android.view.Display;
import androidx.activity.ComponentActivity;
import androidx.camera.core.Camera;
import androidx.camera.core.CameraInfoUnavailableException;
import androidx.camera.core.CameraSelector;
import androidx.camera.core.CameraState;
import androidx.camera.core.ImageAnalysis;
import androidx.camera.core.Preview;
import androidx.camera.core.UseCaseGroup;
import androidx.camera.core.ViewPort;
import androidx.camera.core.resolutionselector.AspectRatioStrategy;
import androidx.camera.core.resolutionselector.ResolutionSelector;
import androidx.camera.core.resolutionselector.ResolutionStrategy;
import androidx.camera.lifecycle.ProcessCameraProvider;
import androidx.camera.view.PreviewView;
import androidx.core.content.ContextCompat;
import com.google.common.util.concurrent.ListenableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.function.Consumer;

/**
 * The back camera: a preview, and the same crop of each frame for analysis. CameraX starts and
 * stops it with the activity. For the main thread.
 */
final class BackCamera implements DisplayManager.DisplayListener {
    // The frame size of driving data sets; models are trained on such frames, downscaled.
    private static final Size WANTED = new Size(1280, 720);

    private final ComponentActivity activity;
    private final PreviewView view;
    private final Executor worker;
    private final ImageAnalysis.Analyzer analyzer;
    private final Consumer<String> errors;
    private ProcessCameraProvider provider;
    private int rotation;

    BackCamera(
            ComponentActivity activity, PreviewView view, Executor worker,
            ImageAnalysis.Analyzer analyzer, Consumer<String> errors) {
        this.activity = activity;
        this.view = view;
        this.worker = worker;
        this.analyzer = analyzer;
        this.errors = errors;
    }

    /** Needs the camera permission. */
    void start() {
        ListenableFuture<ProcessCameraProvider> future =
                ProcessCameraProvider.getInstance(activity);
        future.addListener(() -> {
            try {
                provider = future.get();
                bind();
            } catch (ExecutionException | InterruptedException error) {
                errors.accept("camera: CameraX cannot start (" + error.getMessage() + ")");
            }
        }, ContextCompat.getMainExecutor(activity));
        // A rotation changes the view's shape or, by 180 degrees, only the display.
        view.addOnLayoutChangeListener((v, left, top, right, bottom, a, b, c, d) -> {
            if (right - left != c - a || bottom - top != d - b) view.post(this::bind);
        });
        activity.getSystemService(DisplayManager.class).registerDisplayListener(this, null);
    }

    void stop() {
        if (provider != null) provider.unbindAll();
        activity.getSystemService(DisplayManager.class).unregisterDisplayListener(this);
    }

    /** Binds the camera to the activity again, for the current view and display. */
    private void bind() {
        ViewPort viewPort = view.getViewPort();
        Display display = view.getDisplay();
        if (provider == null || viewPort == null || display == null) return;
        rotation = display.getRotation();
        Preview preview = new Preview.Builder()
                .setResolutionSelector(selector())
                .setTargetRotation(rotation)
                .build();
        ImageAnalysis analysis = new ImageAnalysis.Builder()
                .setResolutionSelector(selector())
                .setTargetRotation(rotation)
                .setOutputImageFormat(ImageAnalysis.OUTPUT_IMAGE_FORMAT_RGBA_8888)
                .setBackpressureStrategy(ImageAnalysis.STRATEGY_KEEP_ONLY_LATEST)
                .build();
        preview.setSurfaceProvider(view.getSurfaceProvider());
        analysis.setAnalyzer(worker, analyzer);
        // The view port makes both show the same part of the scene.
        UseCaseGroup group = new UseCaseGroup.Builder()
                .setViewPort(viewPort)
                .addUseCase(preview)
                .addUseCase(analysis)
                .build();
        try {
            if (!provider.hasCamera(CameraSelector.DEFAULT_BACK_CAMERA)) {
                errors.accept("camera: this device has no back camera");
                return;
            }
            provider.unbindAll();
            watch(provider.bindToLifecycle(activity, CameraSelector.DEFAULT_BACK_CAMERA, group));
        } catch (CameraInfoUnavailableException | RuntimeException error) {
            errors.accept("camera: cannot be opened (" + error.getMessage() + ")");
        }
    }

    private static ResolutionSelector selector() {
        return new ResolutionSelector.Builder()
                .setAspectRatioStrategy(AspectRatioStrategy.RATIO_16_9_FALLBACK_AUTO_STRATEGY)
                .setResolutionStrategy(new ResolutionStrategy(
                        WANTED, ResolutionStrategy.FALLBACK_RULE_CLOSEST_HIGHER_THEN_LOWER))
                .build();
    }

    private void watch(Camera camera) {
        camera.getCameraInfo().getCameraState().removeObservers(activity);
        camera.getCameraInfo().getCameraState().observe(activity, state -> {
            CameraState.StateError error = state.getError();
            if (error != null) {
                errors.accept("camera: CameraX error " + error.getCode()
                        + (error.getCode() == CameraState.ERROR_CAMERA_IN_USE
                                ? "; another app uses it" : ""));
            }
        });
    }

    @Override
    public void onDisplayAdded(int id) {}

    @Override
    public void onDisplayRemoved(int id) {}

    @Override
    public void onDisplayChanged(int id) {
        Display display = view.getDisplay();
        if (display != null && display.getRotation() != rotation) bind();
    }
}
