package kseg.core;

import java.nio.ByteBuffer;

/**
 * Rotates camera frames with {@link CameraFrames#upright}. Repeatedly reads 8 int32 (total bytes,
 * row stride, pixel stride, top, left, height and width of the window, degrees) and the bytes, and
 * writes the upright image.
 */
final class UprightFrames {
    public static void main(String[] args) throws Exception {
        BinaryIo io = new BinaryIo();
        Image out = new Image();
        for (int[] head = io.header(8); head != null; head = io.header(8)) {
            byte[] bytes = new byte[head[0]];
            io.read(bytes);
            Size window = new Size(head[5], head[6]);
            ByteBuffer rgba = ByteBuffer.wrap(bytes);
            CameraFrames.upright(rgba, head[1], head[2], head[3], head[4], window, head[7], out);
            io.write(out.data());
            io.flush();
        }
    }
}
