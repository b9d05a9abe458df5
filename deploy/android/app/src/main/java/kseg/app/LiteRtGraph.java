package kseg.app;

import com.google.ai.edge.litert.Accelerator;
import com.google.ai.edge.litert.CompiledModel;
import com.google.ai.edge.litert.LiteRtException;
import com.google.ai.edge.litert.TensorBuffer;
import java.util.ArrayList;
import java.util.List;
import kseg.core.Graph;
import kseg.core.InputException;
import kseg.core.Model;

/** A graph compiled by LiteRT, with one input and one output buffer that are reused. */
final class LiteRtGraph implements Graph {
    private final CompiledModel compiled;
    private final List<TensorBuffer> inputs = new ArrayList<>(), outputs = new ArrayList<>();

    /**
     * Compiles a model for the GPU or the CPU. It fails unless that device runs the complete graph,
     * because no other accelerator is allowed. Errors start with `name`.
     */
    static LiteRtGraph compile(Model model, boolean gpu, String name) throws InputException {
        Accelerator accelerator = gpu ? Accelerator.GPU : Accelerator.CPU;
        try {
            CompiledModel.Options options = new CompiledModel.Options(accelerator);
            if (!gpu) options.setCpuOptions(new CompiledModel.CpuOptions(threads(), null, null));
            return new LiteRtGraph(CompiledModel.create(model.path.getPath(), options));
        } catch (LiteRtException | RuntimeException | LinkageError error) {
            throw new InputException(
                    name + ": LiteRT cannot run it on the " + accelerator + " ("
                            + error.getMessage() + ")");
        }
    }

    private LiteRtGraph(CompiledModel compiled) throws LiteRtException {
        this.compiled = compiled;
        try {
            inputs.addAll(compiled.createInputBuffers());
            outputs.addAll(compiled.createOutputBuffers());
        } catch (LiteRtException | RuntimeException error) {
            close();
            throw error;
        }
    }

    /** Phones have up to four fast cores; the camera and the screen need the others. */
    private static int threads() {
        return Math.min(4, Runtime.getRuntime().availableProcessors());
    }

    private interface Call<T> {
        T run() throws LiteRtException;
    }

    private static <T> T call(String step, Call<T> call) throws InputException {
        try {
            return call.run();
        } catch (LiteRtException | RuntimeException error) {
            throw new InputException("LiteRT " + step + " failed (" + error.getMessage() + ")");
        }
    }

    @Override
    public void writeUint8(byte[] input) throws InputException {
        call("input", () -> {
            inputs.get(0).writeInt8(input); // LiteRT copies the bytes; its API has no uint8.
            return null;
        });
    }

    @Override
    public void writeFloat32(float[] input) throws InputException {
        call("input", () -> {
            inputs.get(0).writeFloat(input);
            return null;
        });
    }

    @Override
    public void run() throws InputException {
        call("inference", () -> {
            compiled.run(inputs, outputs);
            return null;
        });
    }

    @Override
    public byte[] readUint8() throws InputException {
        return call("output", () -> outputs.get(0).readInt8());
    }

    @Override
    public int[] readInt32() throws InputException {
        return call("output", () -> outputs.get(0).readInt());
    }

    @Override
    public float[] readFloat32() throws InputException {
        return call("output", () -> outputs.get(0).readFloat());
    }

    @Override
    public void close() {
        for (TensorBuffer buffer : inputs) buffer.close();
        for (TensorBuffer buffer : outputs) buffer.close();
        compiled.close();
    }
}
