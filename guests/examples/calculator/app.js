// Answers sums: `2 * (3 + 4)` with `14`. Contract 4, `wasmcloud:messaging/handler`, in JavaScript.
//
// A question's body is an expression: numbers, + - * / % ^, minus before a number, parentheses. One with a reply subject, as a request of
// NATS has it, is answered there. What can't be calculated is answered too, with `error: ` and where it went wrong: whoever asks waits.
//
// One without a reply subject, as a stream keeps it, is answered on `sums.answered`, behind the question: `1 + 1 = 2`. Nobody waits for
// that, so what can't be calculated fails its call, and the host gives up on it after the attempts that it has.

import consumer from "wasmcloud:messaging/consumer@0.2.0";

const ANSWERED = "sums.answered";
const QUESTION_BYTES_MAX = 1000;
const DEPTH_MAX = 50;

export const handler = {
  handleMessage({ body, replyTo }) {
    const { value, mistake } = calculated(body);
    if (replyTo != null) publish(replyTo, mistake === undefined ? value : `error: ${mistake}`);
    else if (mistake === undefined) publish(ANSWERED, `${decode(body)} = ${value}`);
    else throw mistake;
  },
};

function publish(subject, text) {
  consumer.publish({ subject, body: encode(text), replyTo: null });
}

/** The value of the expression in these bytes, or what is wrong with it. */
function calculated(body) {
  try {
    if (body.length > QUESTION_BYTES_MAX) throw new Mistake(`longer than ${QUESTION_BYTES_MAX} bytes`);
    return { value: String(new Parser(tokens(decode(body))).whole()) };
  } catch (mistake) {
    if (!(mistake instanceof Mistake)) throw mistake;
    return { mistake: mistake.message };
  }
}

/** Something wrong with the question. */
class Mistake extends Error {}

/** The parts of an expression, each with its place in it. */
function tokens(text) {
  const found = [];
  const pattern = /\s*(?:(\d+(?:\.\d+)?)|([-+*/%^()]))/y;
  while (text.slice(pattern.lastIndex).trim() !== "") {
    const at = pattern.lastIndex;
    const match = pattern.exec(text);
    if (match === null) throw new Mistake(`not understood at ${at}`);
    found.push({ number: match[1] && Number(match[1]), sign: match[2], at });
  }
  return found;
}

// What each sign does, from the weakest on; `^` is apart, since it binds to the right.
const SIGNS = [
  { "+": (a, b) => a + b, "-": (a, b) => a - b },
  { "*": (a, b) => a * b, "/": (a, b) => a / nonzero(b), "%": (a, b) => a % nonzero(b) },
];

function nonzero(number) {
  if (number === 0) throw new Mistake("division by zero");
  return number;
}

/** Calculates by descent: sums of products of powers of numbers. */
class Parser {
  constructor(tokens) {
    this.tokens = tokens;
    this.next = 0;
    this.depth = 0;
  }

  /** The value of the whole expression. */
  whole() {
    const value = this.chain(0);
    if (this.next < this.tokens.length) this.stop();
    if (!Number.isFinite(value)) throw new Mistake("too large");
    return value;
  }

  chain(level) {
    if (level === SIGNS.length) return this.power();
    let value = this.chain(level + 1);
    for (let sign; (sign = this.take(...Object.keys(SIGNS[level]))); ) value = SIGNS[level][sign](value, this.chain(level + 1));
    return value;
  }

  power() {
    if (++this.depth > DEPTH_MAX) throw new Mistake("too deep");
    const value = this.take("-") ? -this.power() : this.raised(this.atom());
    this.depth--;
    return value;
  }

  raised(base) {
    return this.take("^") ? base ** this.power() : base;
  }

  atom() {
    if (this.take("(")) {
      const value = this.chain(0);
      if (!this.take(")")) this.stop();
      return value;
    }
    const token = this.tokens[this.next];
    if (token?.number === undefined) this.stop();
    this.next++;
    return token.number;
  }

  /** Takes the next token if it is one of these signs. */
  take(...signs) {
    const sign = this.tokens[this.next]?.sign;
    if (!signs.includes(sign)) return undefined;
    this.next++;
    return sign;
  }

  stop() {
    const token = this.tokens[this.next];
    throw new Mistake(token ? `not expected at ${token.at}` : "not finished");
  }
}

// The engine has no TextDecoder; expressions have no need of more than ASCII.
function decode(bytes) {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}

function encode(text) {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}
