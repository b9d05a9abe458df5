package kseg.core;

import java.io.File;

/** A .tflite that was read and found whole: what a runner may hand to LiteRT. */
public final class Model {
    public final File path;
    public final Contract contract;
    final TensorType output;

    private Model(File path, Contract contract, TensorType output) {
        this.path = path;
        this.contract = contract;
        this.output = output;
    }

    /** Reads and checks a file. Errors name `where`, what the user calls the file. */
    public static Model open(File path, String where) throws InputException {
        TfliteFile file = TfliteFile.open(path, where);
        Contract contract = Contract.parse(file.contractText(), where);
        file.checkWhole();
        TensorType input = file.tensor(true), output = file.tensor(false);
        if (!fits(contract, input, output)) {
            throw new InputException(
                    where + ": its contract and its graph differ (" + input + " to " + output
                            + "); " + TfliteFile.REEXPORT);
        }
        return new Model(path, contract, output);
    }

    private static boolean fits(Contract contract, TensorType input, TensorType output) {
        int height = contract.inputSize.height, width = contract.inputSize.width;
        int[] in = input.shape, out = output.shape;
        boolean takes = in.length == 4 && in[0] == 1 && in[1] == height && in[2] == width
                && in[3] == 3 && input.type == contract.inputType;
        // Logits may have channels beyond the classes, which fill up the GPU's slices of 4.
        boolean channels = contract.answersLogits
                ? out.length == 4 && out[3] >= contract.classes.size()
                : out.length == 3;
        boolean answers = channels && out[0] == 1 && out[1] == height && out[2] == width
                && output.type == contract.outputType;
        return takes && answers && output.count() <= Integer.MAX_VALUE / 4;
    }
}
