package kseg.core;

/**
 * Fits frames. Repeatedly reads 6 int32 (frame height and width, input height and width, fit, pad
 * value), a frame and a class map of the input's size, and writes the fitted frame and the class
 * map mapped back to the frame.
 */
final class FitFrames {
    public static void main(String[] args) throws Exception {
        BinaryIo io = new BinaryIo();
        FrameFitter fitter = new FrameFitter();
        Image frame = new Image(), classMap = new Image(), fitted = new Image(), ids = new Image();
        for (int[] head = io.header(6); head != null; head = io.header(6)) {
            Size input = new Size(head[2], head[3]);
            frame.resize(new Size(head[0], head[1]), 3);
            classMap.resize(input, 1);
            io.read(frame.data());
            io.read(classMap.data());
            Fit fit = Fit.values()[head[4]];
            fitter.fitFrame(frame, input, fit, head[5], fitted);
            fitter.unfitClassMap(classMap, frame.size(), fit, ids);
            io.write(fitted.data());
            io.write(ids.data());
            io.flush();
        }
    }
}
