package kseg.core;

/** Element type of a tensor. */
public enum DataType {
    UINT8("uint8"),
    INT32("int32"),
    FLOAT32("float32");

    final String label;

    DataType(String label) {
        this.label = label;
    }

    /** The type with a number of TFLite's schema.fbs; null for types that no kseg model has. */
    static DataType ofSchema(int number) {
        return number == 0 ? FLOAT32 : number == 2 ? INT32 : number == 3 ? UINT8 : null;
    }
}
