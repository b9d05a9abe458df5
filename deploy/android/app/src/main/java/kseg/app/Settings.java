package kseg.app;

import android.content.Context;
import android.content.SharedPreferences;
import java.io.File;

/** What the app remembers: the model, the switch, and whether it was last seen trying the GPU. */
final class Settings {
    private static final String NAME = "name", GPU = "gpu", TRYING = "trying_gpu";

    private final SharedPreferences preferences;
    private final File folder;

    Settings(Context context) {
        preferences = context.getSharedPreferences("kseg", Context.MODE_PRIVATE);
        folder = context.getFilesDir();
    }

    /** Where the model lies; it may not be there. */
    File model() {
        return new File(folder, "model.tflite");
    }

    /** What the user calls the model; empty before the first. */
    String modelName() {
        return preferences.getString(NAME, "");
    }

    void setModelName(String name) {
        preferences.edit().putString(NAME, name).apply();
    }

    boolean gpu() {
        return preferences.getBoolean(GPU, false);
    }

    void setGpu(boolean gpu) {
        preferences.edit().putBoolean(GPU, gpu).apply();
    }

    boolean tryingGpu() {
        return preferences.getBoolean(TRYING, false);
    }

    /** On the disk when it returns: a driver that crashes takes the app with it. */
    void setTryingGpu(boolean trying) {
        if (trying != tryingGpu()) preferences.edit().putBoolean(TRYING, trying).commit();
    }
}
