package kseg.core;

import java.io.File;

/** A .tflite whose contract, checksum and graph have been checked, so that LiteRT may run it. */
public final class Model {
    public final File path;
    public final Contract contract;
    final TensorType output;

    private Model(File path, Contract contract, TensorType output) {
        this.path = path;
        this.contract = contract;
        this.output = output;
    }

    /** Reads and checks a file. Errors start with `where`, the file's name for the user. */
    public static Model open(File path, String where) throws InputException {
        TfliteFile file = TfliteFile.open(path, where);
        Contract contract = Contract.parse(file.contractText(), where);
        file.verifyChecksum();
        TensorType input = file.tensor(true), output = file.tensor(false);
        if (!matches(contract, input, output)) {
            throw new InputException(
                    where + ": its contract does not match its graph (" + input + " to " + output
                            + "); " + TfliteFile.REEXPORT);
        }
        return new Model(path, contract, output);
    }

    private static boolean matches(Contract contract, TensorType input, TensorType output) {
        int height = contract.inputSize.height, width = contract.inputSize.width;
        int[] in = input.shape, out = output.shape;
        boolean inputMatches = in.length == 4 && in[0] == 1 && in[1] == height && in[2] == width
                && in[3] == 3 && input.type == contract.inputType;
        // There may be more channels than classes: they fill up the GPU's slices of 4.
        boolean ranksMatch = contract.outputsLogits
                ? out.length == 4 && out[3] >= contract.classes.size()
                : out.length == 3;
        boolean outputMatches = ranksMatch && out[0] == 1 && out[1] == height && out[2] == width
                && output.type == contract.outputType;
        return inputMatches && outputMatches && output.count() <= Integer.MAX_VALUE / 4;
    }
}
