package kseg.core;

/**
 * Fits frames of any size to the model's input, and class maps back to the frame. Bit-exact with
 * kseg/preprocess.py.
 */
final class FrameFitter {
    /**
     * Where a frame scaled to `size` lies in the input; if top or left is negative, that much is
     * cut away.
     */
    static final class Placement {
        final Size size;
        final int top, left;

        Placement(Size size, int top, int left) {
            this.size = size;
            this.top = top;
            this.left = left;
        }
    }

    private final Image scaled = new Image(); // Reused for every frame.
    private int[] columns = new int[0];

    static Placement placement(Size frame, Size input, Fit fit) {
        if (fit == Fit.STRETCH) return new Placement(input, 0, 0);
        double byHeight = (double) input.height / frame.height;
        double byWidth = (double) input.width / frame.width;
        double scale =
                fit == Fit.LETTERBOX ? Math.min(byHeight, byWidth) : Math.max(byHeight, byWidth);
        int height = Math.max(1, (int) (frame.height * scale + 0.5));
        int width = Math.max(1, (int) (frame.width * scale + 0.5));
        return new Placement(
                new Size(height, width), (input.height - height) / 2, (input.width - width) / 2);
    }

    /** RGB frame -> RGB of the input's size. */
    void fitFrame(Image frame, Size input, Fit fit, int padValue, Image out) {
        Placement place = placement(frame.size(), input, fit);
        out.resize(input, 3);
        if (place.size.equals(input) && !frame.size().equals(input)) {
            Resize.resize(frame, out);
            return;
        }
        Image source = frame;
        if (!frame.size().equals(place.size)) {
            scaled.resize(place.size, 3);
            Resize.resize(frame, scaled);
            source = scaled;
        }
        out.fill(padValue);
        paste(source, place.top, place.left, out);
    }

    /** Copies the part of `from` that lies inside `to` when its corner is at (top, left). */
    private static void paste(Image from, int top, int left, Image to) {
        int fromTop = Math.max(-top, 0), fromLeft = Math.max(-left, 0);
        int toTop = Math.max(top, 0), toLeft = Math.max(left, 0);
        int rows = Math.min(from.size().height - fromTop, to.size().height - toTop);
        int count = Math.min(from.size().width - fromLeft, to.size().width - toLeft);
        for (int y = 0; y < rows; y++) {
            int source = (y + fromTop) * from.rowBytes() + 3 * fromLeft;
            int target = (y + toTop) * to.rowBytes() + 3 * toLeft;
            System.arraycopy(from.data(), source, to.data(), target, 3 * count);
        }
    }

    /**
     * Class ids of the input's size -> ids of the frame's size, nearest neighbour; UNSEEN_ID where
     * `crop` cut away.
     */
    void unfitClassMap(Image classMap, Size frame, Fit fit, Image out) {
        Size input = classMap.size();
        Placement place = placement(frame, input, fit);
        out.resize(frame, 1);
        if (columns.length != frame.width) columns = new int[frame.width];
        for (int x = 0; x < frame.width; x++) {
            columns[x] = nearest(x, place.size.width, frame.width) + place.left;
        }
        byte[] ids = classMap.data(), to = out.data();
        for (int y = 0; y < frame.height; y++) {
            int fromY = nearest(y, place.size.height, frame.height) + place.top;
            boolean rowSeen = fromY >= 0 && fromY < input.height;
            int line = fromY * input.width, at = y * frame.width;
            for (int x : columns) {
                boolean seen = rowSeen && x >= 0 && x < input.width;
                to[at++] = seen ? ids[line + x] : Contract.UNSEEN_ID;
            }
        }
    }

    /**
     * The centre of each frame pixel lies in one pixel of the scaled frame. Integers are exact.
     */
    private static int nearest(int position, int fromSide, int toSide) {
        return (int) ((2L * position + 1) * fromSide / (2L * toSide));
    }
}
