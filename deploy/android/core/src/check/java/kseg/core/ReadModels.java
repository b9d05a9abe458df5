package kseg.core;

import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

/**
 * Reads paths from standard input and prints one line per file: the model, or the error.
 */
final class ReadModels {
    public static void main(String[] args) throws Exception {
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        InputStreamReader in = new InputStreamReader(System.in, StandardCharsets.UTF_8);
        BufferedReader paths = new BufferedReader(in);
        for (String path = paths.readLine(); path != null; path = paths.readLine()) {
            try {
                Contract contract = Model.open(new File(path), path).contract;
                out.println("good: " + contract.model + ", " + contract.inputSize);
            } catch (InputException error) {
                out.println("error: " + error.getMessage());
            }
        }
    }
}
