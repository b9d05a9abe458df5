package kseg.core;

/** Bad input. The message is one line: what is wrong, where, what to do. */
public final class InputException extends Exception {
    private static final long serialVersionUID = 1;

    public InputException(String message) {
        super(message);
    }
}
