import { InputError } from './errors.js'

const MAX_BYTES = 1 << 20
const MAX_DEPTH = 16
const MAX_ITEMS = 4096 // of one array or object
const NUMBER = /-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y
const DIGITS = /[0-9]/y
const STRING = /"((?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*)"/y
const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/

/** A number with a fraction or an exponent, which no integer of a contract may have. */
export class Real {
  /** @param {number} value */
  constructor(value) {
    this.value = value
  }
}

/**
 * Parses a JSON document (RFC 8259) from an untrusted source as strictly as the other runners:
 * JSON.parse accepts duplicate keys and lone surrogates, and does not distinguish 72 from 72.0.
 *
 * Objects become Maps, numbers with a fraction or an exponent Reals.
 *
 * @param {Uint8Array} bytes
 * @returns {unknown}
 */
export function parseJson(bytes) {
  if (bytes.length > MAX_BYTES) throw new InputError('longer than a contract can be')
  let text
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw new InputError('not UTF-8')
  }
  const parser = new Parser(text)
  const value = parser.value(0)
  if (parser.peek() !== '') throw parser.error('text after the document')
  return value
}

class Parser {
  /** @param {string} text */
  constructor(text) {
    this.text = text
    this.at = 0
  }

  /** @param {string} problem */
  error(problem) {
    return new InputError(`${problem} at character ${this.at}`)
  }

  /** The next character that is not white space; '' at the end. */
  peek() {
    while (this.at < this.text.length && ' \n\r\t'.includes(this.text[this.at])) this.at++
    return this.text[this.at] ?? ''
  }

  /** @param {string} token */
  take(token) {
    this.peek()
    if (!this.text.startsWith(token, this.at)) return false
    this.at += token.length
    return true
  }

  /** @param {RegExp} pattern */
  match(pattern) {
    pattern.lastIndex = this.at
    const found = pattern.exec(this.text)
    if (found) this.at = pattern.lastIndex
    return found
  }

  /**
   * @param {number} depth
   * @returns {unknown}
   */
  value(depth) {
    if (depth > MAX_DEPTH) throw this.error('nested too deeply')
    const next = this.peek()
    if (next === '{') return this.object(depth)
    if (next === '[') return this.array(depth)
    if (next === '"') return this.string()
    if (this.take('true')) return true
    if (this.take('false')) return false
    if (this.take('null')) return null
    if (next === '-' || (next >= '0' && next <= '9')) return this.number()
    throw this.error('expected a value')
  }

  /** @param {number} depth */
  object(depth) {
    const members = new Map()
    this.take('{')
    if (this.take('}')) return members
    do {
      if (this.peek() !== '"') throw this.error('expected a key')
      const key = this.string()
      if (members.has(key)) throw this.error('duplicate key')
      if (!this.take(':')) throw this.error("expected ':'")
      if (members.size === MAX_ITEMS) throw this.error('too many items')
      members.set(key, this.value(depth + 1))
    } while (this.take(','))
    if (!this.take('}')) throw this.error("expected ',' or '}'")
    return members
  }

  /** @param {number} depth */
  array(depth) {
    /** @type {unknown[]} */
    const items = []
    this.take('[')
    if (this.take(']')) return items
    do {
      if (items.length === MAX_ITEMS) throw this.error('too many items')
      items.push(this.value(depth + 1))
    } while (this.take(','))
    if (!this.take(']')) throw this.error("expected ',' or ']'")
    return items
  }

  string() {
    const found = this.match(STRING)
    if (!found) throw this.error('invalid string (unterminated, control character or escape)')
    const value = /** @type {string} */ (JSON.parse(found[0]))
    if (LONE_SURROGATE.test(value)) throw this.error('lone surrogate')
    return value
  }

  number() {
    const found = this.match(NUMBER)
    DIGITS.lastIndex = this.at
    if (!found || DIGITS.test(this.text)) throw this.error('invalid number')
    const value = Number(found[0])
    if (!Number.isFinite(value)) throw this.error('number out of range')
    return found[2] || found[3] || !Number.isSafeInteger(value) ? new Real(value) : value
  }
}
