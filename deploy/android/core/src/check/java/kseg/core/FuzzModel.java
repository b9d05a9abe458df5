package kseg.core;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.Arrays;
import java.util.Random;

/**
 * Corrupts a .tflite and its contract, reproducibly, and reads them: FuzzModel FILE ROUNDS. Any
 * exception but InputException ends it. Exits with 1 if corruption goes unnoticed.
 */
final class FuzzModel {
    // Bytes to which JSON and FlatBuffers are most sensitive.
    private static final int[] BYTES = {
        0, 1, 4, 0x7F, 0x80, 0xFF, 0xED, '"', '\\', '{', '}', '[',
        ']', ',', ':', '-', '.', 'e', '9', 'u'
    };

    private final Random random = new Random(1);
    private int unnoticed;

    public static void main(String[] args) throws Exception {
        byte[] file = Files.readAllBytes(Paths.get(args[0]));
        int rounds = Integer.parseInt(args[1]);
        String json = new String(open(file).contractText(), StandardCharsets.UTF_8);
        String more = "{\"a\": \"\\u00e9 \\ud83d\\ude97 \\n \u00e9\", \"b\": [-1.5e-3, null], ";
        byte[] text = json.replaceFirst("\\{", more.replace("\\", "\\\\")).getBytes("UTF-8");
        Contract.parse(text, "file");
        FuzzModel fuzz = new FuzzModel();
        fuzz.corruptAtRandom(file, text, rounds);
        fuzz.truncate(file, text);
        corruptEveryOffset(file.clone());
        System.out.println(rounds + " rounds, " + fuzz.unnoticed + " unnoticed");
        System.exit(fuzz.unnoticed == 0 ? 0 : 1);
    }

    private static TfliteFile open(byte[] file) {
        return new TfliteFile(ByteBuffer.wrap(file), "file");
    }

    private interface Step {
        void run() throws InputException;
    }

    private static boolean passes(Step step) {
        try {
            step.run();
            return true;
        } catch (InputException error) {
            if (error.getMessage().indexOf('\n') >= 0) throw new AssertionError(error);
            return false;
        }
    }

    private static void readAll(byte[] bytes) {
        TfliteFile file = open(bytes);
        passes(() -> Contract.parse(file.contractText(), "file"));
        passes(() -> file.tensor(true));
        passes(() -> file.tensor(false));
    }

    private void corruptAtRandom(byte[] file, byte[] text, int rounds) {
        for (int round = 0; round < rounds; round++) {
            byte[] document = corrupted(text);
            passes(() -> Contract.parse(document, "file"));
            byte[] bytes = corrupted(file);
            boolean changed = !Arrays.equals(bytes, file);
            if (changed && passes(() -> open(bytes).verifyChecksum())) unnoticed++;
            readAll(bytes);
        }
    }

    private byte[] corrupted(byte[] original) {
        byte[] bytes = original.clone();
        for (int times = 1 + random.nextInt(4); times > 0 && bytes.length > 0; times--) {
            int at = random.nextInt(bytes.length);
            byte pick = (byte) BYTES[random.nextInt(BYTES.length)];
            switch (random.nextInt(5)) {
                case 0:
                    bytes[at] ^= 1 << random.nextInt(8);
                    break;
                case 1:
                    bytes[at] = pick;
                    break;
                case 2:
                    byte[] more = new byte[1 + random.nextInt(40)];
                    Arrays.fill(more, pick);
                    bytes = splice(bytes, at, 0, more);
                    break;
                case 3:
                    bytes = splice(bytes, at, 1 + random.nextInt(bytes.length - at), new byte[0]);
                    break;
                default: // Makes numbers and offsets too large.
                    Arrays.fill(bytes, at, Math.min(at + 4, bytes.length), (byte) 0xFF);
            }
        }
        return bytes;
    }

    private static byte[] splice(byte[] bytes, int at, int removed, byte[] added) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        out.write(bytes, 0, at);
        out.write(added, 0, added.length);
        out.write(bytes, at + removed, bytes.length - at - removed);
        return out.toByteArray();
    }

    /** Truncates the contract's text at every byte, and the file at some. None may pass. */
    private void truncate(byte[] file, byte[] text) {
        for (int size = 0; size < text.length; size++) {
            byte[] truncated = Arrays.copyOf(text, size);
            if (passes(() -> Contract.parse(truncated, "file"))) unnoticed++;
        }
        for (int size = 0; size < file.length; size += 61) {
            byte[] truncated = Arrays.copyOf(file, size);
            if (passes(() -> open(truncated).verifyChecksum())) unnoticed++;
            readAll(truncated);
        }
    }

    /** Writes extreme values, one after the other, wherever an offset or a length may lie. */
    private static void corruptEveryOffset(byte[] bytes) {
        int[] words = {0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, bytes.length, bytes.length - 4};
        ByteBuffer view = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
        for (int at = 0; at + 4 <= bytes.length; at += 2) {
            int before = view.getInt(at);
            for (int word : words) {
                view.putInt(at, word);
                readAll(bytes);
            }
            view.putInt(at, before);
        }
    }
}
