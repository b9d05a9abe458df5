package kseg.app;

import android.content.Context;
import android.content.SharedPreferences;
import java.io.File;

/** Stored settings: the model, the GPU switch, and whether the app was trying the GPU. */
final class Settings {
    private static final String NAME = "name", GPU = "gpu", TRYING = "trying_gpu";

    private final SharedPreferences preferences;
    private final File folder;

    Settings(Context context) {
        preferences = context.getSharedPreferences("kseg", Context.MODE_PRIVATE);
        folder = context.getFilesDir();
    }

    /** The model's file; it may not exist. */
    File model() {
        return new File(folder, "model.tflite");
    }

    /** The model's display name; empty before the first model. */
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

    /** Written to disk before it returns, because a driver may crash the app. */
    void setTryingGpu(boolean trying) {
        if (trying != tryingGpu()) preferences.edit().putBoolean(TRYING, trying).commit();
    }
}
