package kseg.app;

import android.Manifest;
import android.content.pm.PackageManager;
import android.net.Uri;
import android.os.Bundle;
import android.view.View;
import android.widget.Button;
import android.widget.CompoundButton;
import android.widget.LinearLayout;
import android.widget.Switch;
import android.widget.TextView;
import androidx.activity.ComponentActivity;
import androidx.activity.EdgeToEdge;
import androidx.activity.result.ActivityResultLauncher;
import androidx.activity.result.contract.ActivityResultContracts;
import androidx.camera.view.PreviewView;
import androidx.core.graphics.Insets;
import androidx.core.view.ViewCompat;
import androidx.core.view.WindowInsetsCompat;
import java.util.Locale;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import kseg.core.CheckedSegmenter;
import kseg.core.Contract;
import kseg.core.InputException;
import kseg.core.Session;
import kseg.core.Size;

/** The only screen: camera preview, class overlay, model, CPU/GPU switch and latency. */
public final class MainActivity extends ComponentActivity implements Session.Listener {
    private static final long SHOW_EVERY_NS = 500_000_000;

    // Everything that uses a model or a frame runs on this thread, so no locks are needed. CameraX
    // drops frames that arrive while it is busy.
    private final ExecutorService thread = Executors.newSingleThreadExecutor();
    private final Session session = new Session(
            LiteRtGraph::compile, this, CheckedSegmenter.Checks.whileDriving());
    private final ActivityResultLauncher<String[]> picker =
            registerForActivityResult(new ActivityResultContracts.OpenDocument(), this::onPicked);
    private final ActivityResultLauncher<String> permission =
            registerForActivityResult(
                    new ActivityResultContracts.RequestPermission(), this::onPermission);
    private Settings settings;
    private BackCamera camera;
    private OverlayView overlay;
    private Switch gpu;
    private TextView model, latency, message;
    private long latencyShownNs; // Used only by the session's thread.
    private String notice = ""; // Shown until there is a newer message.

    @Override
    protected void onCreate(Bundle saved) {
        EdgeToEdge.enable(this); // As on Android 15 and newer, where an app cannot choose.
        super.onCreate(saved);
        setContentView(R.layout.main);
        LinearLayout controls = findViewById(R.id.controls);
        ViewCompat.setOnApplyWindowInsetsListener(controls, MainActivity::padBesideBars);
        overlay = findViewById(R.id.overlay);
        gpu = findViewById(R.id.gpu);
        model = findViewById(R.id.model);
        latency = findViewById(R.id.latency);
        message = findViewById(R.id.message);
        Button pick = findViewById(R.id.pick);
        PreviewView preview = findViewById(R.id.preview);
        settings = new Settings(this);
        FrameReader reader = new FrameReader(session, this::onError);
        camera = new BackCamera(this, preview, thread, reader, this::onError);
        // .tflite has no MIME type, so any file may be picked; it is checked afterwards.
        pick.setOnClickListener(view -> picker.launch(new String[] {"*/*"}));
        message.setText(R.string.pick_a_model);
        if (settings.tryingGpu()) {
            notice = getString(R.string.gpu_ended_app);
            settings.setGpu(false);
            settings.setTryingGpu(false);
        }
        setSwitch(settings.gpu());
        if (!settings.modelName().isEmpty()) load();
        if (checkSelfPermission(Manifest.permission.CAMERA) == PackageManager.PERMISSION_GRANTED) {
            camera.start();
        } else {
            permission.launch(Manifest.permission.CAMERA);
        }
    }

    /** Keeps the controls clear of the navigation bar and of a cutout, and 8 dp off the edges. */
    private static WindowInsetsCompat padBesideBars(View controls, WindowInsetsCompat insets) {
        Insets bars = insets.getInsets(
                WindowInsetsCompat.Type.systemBars() | WindowInsetsCompat.Type.displayCutout());
        int edge = Math.round(8 * controls.getResources().getDisplayMetrics().density);
        // The controls are at the bottom, so the status bar does not matter.
        controls.setPadding(edge + bars.left, edge, edge + bars.right, edge + bars.bottom);
        return insets;
    }

    @Override
    protected void onDestroy() {
        camera.stop();
        thread.execute(session::close);
        thread.shutdown(); // Tasks already submitted still run.
        super.onDestroy();
    }

    private void onPermission(boolean granted) {
        if (granted) {
            camera.start();
        } else {
            message.setText(R.string.no_permission);
        }
    }

    private void onPicked(Uri document) {
        if (document == null) return; // The user cancelled.
        message.setText(R.string.loading);
        thread.execute(() -> {
            String name = Documents.nameOf(getContentResolver(), document);
            try {
                Documents.copyModel(getContentResolver(), document, name, settings.model());
            } catch (InputException error) {
                onError(error.getMessage());
                return;
            }
            settings.setModelName(name);
            session.load(settings.model(), name, settings.gpu());
        });
    }

    private void onSwitched(CompoundButton button, boolean checked) {
        settings.setGpu(checked);
        if (!settings.modelName().isEmpty()) load();
    }

    private void load() {
        message.setText(R.string.loading);
        boolean wantGpu = settings.gpu();
        String name = settings.modelName();
        thread.execute(() -> session.load(settings.model(), name, wantGpu));
    }

    /** Sets the switch without calling the listener. */
    private void setSwitch(boolean on) {
        gpu.setOnCheckedChangeListener(null);
        gpu.setChecked(on);
        gpu.setOnCheckedChangeListener(this::onSwitched);
    }

    @Override
    public void onModel(String name, Contract contract, boolean onGpu, String note) {
        String text = String.format(
                Locale.ROOT, "%s: %s, %s, %d x %d, for %s", name, contract.model,
                contract.precision, contract.inputSize.height, contract.inputSize.width,
                contract.profile);
        overlay.show(null, null);
        runOnUiThread(() -> {
            settings.setGpu(onGpu);
            setSwitch(onGpu);
            model.setText(text);
            latency.setText("");
            message.setText(note.isEmpty() ? notice : note);
            notice = "";
        });
    }

    @Override
    public void onFrame(int[] argb, Size size) {
        overlay.show(argb, size);
    }

    @Override
    public void onLatency(double milliseconds, double agreement, double ageSeconds) {
        if (System.nanoTime() - latencyShownNs < SHOW_EVERY_NS) return;
        latencyShownNs = System.nanoTime();
        String check = Double.isNaN(agreement)
                ? ""
                : String.format(
                        Locale.ROOT, ", agreement with the CPU: %.2f %%, %.0f s ago",
                        100 * agreement, ageSeconds);
        String text = String.format(Locale.ROOT, "%.1f ms%s", milliseconds, check);
        runOnUiThread(() -> latency.setText(text));
    }

    @Override
    public void onSkipped(int count, String problem) {
        overlay.show(null, null); // The last frame's classes are not this one's.
        String line = String.format(
                Locale.ROOT, "skipped: %s (%d frames so far)", problem, count);
        runOnUiThread(() -> message.setText(line));
    }

    @Override
    public void onError(String line) {
        overlay.show(null, null);
        runOnUiThread(() -> message.setText(line));
    }

    @Override
    public void onTryingGpu(boolean trying) {
        settings.setTryingGpu(trying);
    }
}
