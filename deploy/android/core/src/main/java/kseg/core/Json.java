package kseg.core;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A strict parser of small JSON documents (RFC 8259) from untrusted sources. Written by hand so
 * that the core needs no library and refuses what the other runners refuse.
 *
 * <p>Values are Boolean, Long (a number without fraction or exponent, up to 2^53), Double, String,
 * {@code List<Object>}, {@code Map<String, Object>}, or null. Errors name the byte.
 */
final class Json {
    static final int MAX_BYTES = 1 << 20;
    static final int MAX_DEPTH = 16;
    static final int MAX_ITEMS = 4096; // Of one array or object.

    private static final double EXACT = 9007199254740992.0; // 2^53: a double is exact up to here.
    private static final String ESCAPES = "\"\\/bfnrt";
    private static final String ESCAPED = "\"\\/\b\f\n\r\t";

    private final byte[] text;
    private int at;

    private Json(byte[] text) {
        this.text = text;
    }

    /**
     * Returns the document's value. Refuses documents over the limits, duplicate keys, text that is
     * not UTF-8, NaN and Infinity, and anything after the value.
     */
    static Object parse(byte[] text) throws InputException {
        if (text.length > MAX_BYTES) throw new InputException("longer than a contract can be");
        Json json = new Json(text);
        Object value = json.value(0);
        json.skipSpace();
        if (json.at != text.length) throw json.error("text after the document");
        return value;
    }

    private InputException error(String problem) {
        return new InputException(problem + " at byte " + at);
    }

    /** The current byte, 0 to 255; -1 at the end. */
    private int peek() {
        return at < text.length ? text[at] & 0xFF : -1;
    }

    private boolean take(String token) {
        if (text.length - at < token.length()) return false;
        for (int i = 0; i < token.length(); i++) {
            if (text[at + i] != token.charAt(i)) return false;
        }
        at += token.length();
        return true;
    }

    private void skipSpace() {
        while (peek() == ' ' || peek() == '\n' || peek() == '\r' || peek() == '\t') at++;
    }

    private Object value(int depth) throws InputException {
        if (depth > MAX_DEPTH) throw error("nested too deeply");
        skipSpace();
        if (peek() == '{') return object(depth);
        if (peek() == '[') return array(depth);
        if (peek() == '"') return string();
        if (take("true")) return Boolean.TRUE;
        if (take("false")) return Boolean.FALSE;
        if (take("null")) return null;
        if (peek() == '-' || isDigit(peek())) return number();
        throw error("expected a value");
    }

    private Map<String, Object> object(int depth) throws InputException {
        Map<String, Object> out = new LinkedHashMap<>();
        take("{");
        skipSpace();
        if (take("}")) return out;
        do {
            skipSpace();
            if (peek() != '"') throw error("expected a key");
            String key = string();
            if (out.containsKey(key)) throw error("duplicate key");
            skipSpace();
            if (!take(":")) throw error("expected ':'");
            if (out.size() == MAX_ITEMS) throw error("too many items");
            out.put(key, value(depth + 1));
            skipSpace();
        } while (take(","));
        if (!take("}")) throw error("expected ',' or '}'");
        return out;
    }

    private List<Object> array(int depth) throws InputException {
        List<Object> out = new ArrayList<>();
        take("[");
        skipSpace();
        if (take("]")) return out;
        do {
            if (out.size() == MAX_ITEMS) throw error("too many items");
            out.add(value(depth + 1));
            skipSpace();
        } while (take(","));
        if (!take("]")) throw error("expected ',' or ']'");
        return out;
    }

    private String string() throws InputException {
        StringBuilder out = new StringBuilder();
        at++;
        while (at < text.length) {
            int c = peek();
            if (c == '"') {
                at++;
                return out.toString();
            }
            if (c < 0x20) throw error("control character in a string");
            if (c == '\\') {
                escape(out);
                continue;
            }
            int length = utf8Length();
            if (length == 0) throw error("not UTF-8");
            out.append(new String(text, at, length, StandardCharsets.UTF_8));
            at += length;
        }
        throw error("unterminated string");
    }

    /** Bytes of the current UTF-8 character; 0 if it is not UTF-8. */
    private int utf8Length() {
        int first = peek();
        if (first < 0x80) return 1;
        int length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
        if (first < 0xC2 || first > 0xF4 || text.length - at < length) return 0;
        for (int i = 1; i < length; i++) {
            if ((text[at + i] & 0xC0) != 0x80) return 0;
        }
        int second = text[at + 1] & 0xFF;
        boolean overlong = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
        boolean surrogate = first == 0xED && second > 0x9F;
        boolean beyond = first == 0xF4 && second > 0x8F;
        return overlong || surrogate || beyond ? 0 : length;
    }

    private void escape(StringBuilder out) throws InputException {
        at++;
        int index = peek() < 0 ? -1 : ESCAPES.indexOf(peek());
        if (index >= 0) {
            out.append(ESCAPED.charAt(index));
            at++;
            return;
        }
        int code = take("u") ? hex4() : -1;
        if (code < 0) throw error("invalid escape");
        if (code >= 0xD800 && code < 0xE000) { // Half of a surrogate pair (beyond U+FFFF).
            int low = code < 0xDC00 && take("\\u") ? hex4() : -1;
            if (low < 0xDC00 || low >= 0xE000) throw error("lone surrogate");
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        }
        out.appendCodePoint(code);
    }

    /** The value of 4 hexadecimal digits; -1 if there are none. */
    private int hex4() {
        if (text.length - at < 4) return -1;
        int out = 0;
        for (int i = 0; i < 4; i++) {
            int c = text[at + i];
            int digit =
                    isDigit(c) ? c - '0'
                            : c >= 'a' && c <= 'f' ? c - 'a' + 10
                            : c >= 'A' && c <= 'F' ? c - 'A' + 10
                            : -1;
            if (digit < 0) return -1;
            out = out << 4 | digit;
        }
        at += 4;
        return out;
    }

    private Object number() throws InputException {
        int start = at;
        take("-");
        boolean leadingZero = peek() == '0';
        int first = at;
        if (!takeDigits() || (leadingZero && at - first > 1)) throw error("invalid number");
        boolean isInteger = true;
        if (take(".")) {
            isInteger = false;
            if (!takeDigits()) throw error("invalid number");
        }
        if (peek() == 'e' || peek() == 'E') {
            isInteger = false;
            at++;
            if (peek() == '+' || peek() == '-') at++;
            if (!takeDigits()) throw error("invalid number");
        }
        String digits = new String(text, start, at - start, StandardCharsets.US_ASCII);
        double real = Double.parseDouble(digits);
        if (Double.isInfinite(real)) throw error("number out of range");
        if (isInteger && Math.abs(real) <= EXACT) return (long) real;
        return real;
    }

    private boolean takeDigits() {
        int start = at;
        while (isDigit(peek())) at++;
        return at > start;
    }

    private static boolean isDigit(int c) {
        return c >= '0' && c <= '9';
    }
}
