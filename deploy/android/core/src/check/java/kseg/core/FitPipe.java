package kseg.core;

/**
 * The fit over a pipe. Reads, again and again, 6 int32 (frame height and width, input height and
 * width, fit, pad value), the frame and a class map of the input's size; writes the fitted frame
 * and the class map brought back to the frame.
 */
final class FitPipe {
    public static void main(String[] args) throws Exception {
        Pipe pipe = new Pipe();
        Geometry geometry = new Geometry();
        Image frame = new Image(), classMap = new Image(), fitted = new Image(), ids = new Image();
        for (int[] head = pipe.header(6); head != null; head = pipe.header(6)) {
            Size input = new Size(head[2], head[3]);
            frame.resize(new Size(head[0], head[1]), 3);
            classMap.resize(input, 1);
            pipe.read(frame.data());
            pipe.read(classMap.data());
            Fit fit = Fit.values()[head[4]];
            geometry.fitFrame(frame, input, fit, head[5], fitted);
            geometry.unfitClassMap(classMap, frame.size(), fit, ids);
            pipe.write(fitted.data());
            pipe.write(ids.data());
            pipe.flush();
        }
    }
}
