package kseg.core;

import java.nio.ByteBuffer;

/**
 * {@link Frames#upright} over a pipe. Reads, again and again, 8 int32 (bytes in all, bytes from row
 * to row and from pixel to pixel, top, left, height and width of the window, degrees) and the
 * bytes; writes the upright picture.
 */
final class UprightPipe {
    public static void main(String[] args) throws Exception {
        Pipe pipe = new Pipe();
        Image out = new Image();
        for (int[] head = pipe.header(8); head != null; head = pipe.header(8)) {
            byte[] bytes = new byte[head[0]];
            pipe.read(bytes);
            Size window = new Size(head[5], head[6]);
            ByteBuffer rgba = ByteBuffer.wrap(bytes);
            Frames.upright(rgba, head[1], head[2], head[3], head[4], window, head[7], out);
            pipe.write(out.data());
            pipe.flush();
        }
    }
}
