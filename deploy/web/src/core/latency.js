/** Times of the latest frames. */
export class Latency {
  /** @param {number} frames */
  constructor(frames = 100) {
    this.frames = frames
    /** @type {number[]} */
    this.times = []
    /** @type {number[]} */
    this.arrivals = []
  }

  /** @param {number} milliseconds @param {number} now milliseconds */
  add(milliseconds, now) {
    this.times.push(milliseconds)
    this.arrivals.push(now)
    if (this.times.length > this.frames) this.times.shift()
    if (this.arrivals.length > this.frames) this.arrivals.shift()
  }

  /** A percentile of the times, as numpy.percentile; NaN before the first. @param {number} percent */
  percentile(percent) {
    const sorted = [...this.times].sort((a, b) => a - b)
    const position = ((sorted.length - 1) * percent) / 100
    const [below, above] = [sorted[Math.floor(position)], sorted[Math.ceil(position)]]
    return sorted.length ? below + (above - below) * (position - Math.floor(position)) : NaN
  }

  /** NaN before the second frame. */
  framesPerSecond() {
    const { arrivals } = this
    return ((arrivals.length - 1) * 1000) / (arrivals[arrivals.length - 1] - arrivals[0])
  }
}
