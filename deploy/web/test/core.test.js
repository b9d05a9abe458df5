import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FrameError } from '../src/core/errors.js'
import { CheckedGpu, DeviceLostError } from '../src/core/gpu_check.js'
import { parseRows } from '../src/core/lane_measures.js'
import { Latency } from '../src/core/latency.js'
import { paint } from '../src/core/overlay.js'

const WIDTH = 20
const REGION = { top: 0, left: 0, height: 10, width: WIDTH }
const FRAME = Uint8Array.from({ length: 600 }, (_, i) => (i * 37) % 256)
const TWO_CLASSES = Uint8Array.from({ length: 200 }, (_, i) => i % 2)
const fill = (id) => new Uint8Array(200).fill(id)

/** A CheckedGpu whose devices return `gpu` and `cpu` (arrays, or functions), and its clock. */
function checked(gpu, cpu) {
  const state = { now: 0, lines: [], gpu, cpu, cpuRuns: 0 }
  const call = (value) => (typeof value === 'function' ? value() : value)
  state.segmenter = new CheckedGpu(
    async () => call(state.gpu),
    async () => (state.cpuRuns++, call(state.cpu)),
    {
      name: 'road.tflite',
      width: WIDTH,
      onFallBack: (line) => state.lines.push(line),
      now: () => state.now,
    },
  )
  state.run = (frame = FRAME) => state.segmenter.run(frame, REGION)
  return state
}

test('a GPU that agrees is used; the CPU runs only for comparisons', async () => {
  const state = checked(TWO_CLASSES, TWO_CLASSES.slice())
  for (state.now = 0; state.now < 60; state.now++) {
    await state.run()
    await state.segmenter.pending
  }
  assert.equal(state.cpuRuns, 2) // At the start and after 30 s.
  assert.equal(state.segmenter.report().frames, 2)
  assert.deepEqual(state.lines, [])
})

test('a GPU that is wrong at the start is refused, and its class map never used', async () => {
  const wrong = TWO_CLASSES.slice()
  wrong.fill(1, 0, 10)
  const state = checked(wrong, TWO_CLASSES)
  assert.equal(await state.run(), TWO_CLASSES)
  assert.match(state.lines[0], /^no GPU: road.tflite: the GPU agrees .* 97.500 % .*CPU$/)
  state.gpu = () => assert.fail('the GPU is not in use')
  assert.equal(await state.run(), TWO_CLASSES)
})

test('a GPU that becomes wrong is refused at the next comparison', async () => {
  const state = checked(TWO_CLASSES, TWO_CLASSES)
  await state.run()
  state.gpu = fill(1)
  state.now = 31
  await state.run()
  await state.segmenter.pending
  assert.equal(state.segmenter.inUse, false)
  assert.match(state.lines[0], /31 s after it agreed; frames since then may be wrong/)
})

test('frames with one class or without contrast show nothing', async () => {
  const state = checked(fill(1), fill(1))
  await state.run()
  assert.equal(state.segmenter.trusted, false)
  state.gpu = state.cpu = TWO_CLASSES
  await state.run(new Uint8Array(600).fill(90))
  assert.equal(state.segmenter.trusted, false)
  assert.equal(state.segmenter.passedOver, 2)
  await state.run()
  assert.equal(state.segmenter.trusted, true)
})

test('a GPU that always returns one class is refused on a frame with two', async () => {
  const state = checked(fill(1), TWO_CLASSES)
  await state.run()
  assert.equal(state.segmenter.inUse, false)
})

test('a GPU that fails where the CPU does not is refused; a frame that both refuse is not', async () => {
  const refuse = () => {
    throw new FrameError('the model predicts no class at 3 pixels')
  }
  const state = checked(refuse, refuse)
  await assert.rejects(state.run(), FrameError)
  assert.equal(state.segmenter.inUse, true)
  state.cpu = TWO_CLASSES
  assert.equal(await state.run(), TWO_CLASSES)
  assert.match(state.lines[0], /on the GPU the model predicts no class at 3 pixels/)
})

test('a lost GPU is replaced by the CPU', async () => {
  const lost = () => {
    throw new DeviceLostError('the GPU does not respond')
  }
  const state = checked(lost, TWO_CLASSES)
  assert.equal(await state.run(), TWO_CLASSES)
  assert.equal(state.lines.length, 1)
})

test('percentiles are those of numpy, over the latest frames', () => {
  const latency = new Latency(4)
  for (const time of [99, 1, 2, 3, 4]) latency.add(time, time * 100)
  assert.equal(latency.percentile(50), 2.5)
  assert.equal(latency.percentile(90), 3.7)
  assert.equal(latency.framesPerSecond(), 10)
  assert.ok(Number.isNaN(new Latency().percentile(50)))
})

test('rows are shares of the height', () => {
  assert.deepEqual(parseRows('0.6, 0.8'), [0.6, 0.8])
  assert.deepEqual(parseRows(' '), [])
  assert.throws(() => parseRows('1'), /from 0 to below 1/)
  assert.throws(() => parseRows('x'), /Rows x/)
})

test('hidden classes are transparent; a pattern draws white lines', () => {
  const classes = [
    { id: 0, name: 'a', color: [10, 20, 30], drivable: true },
    { id: 1, name: 'b', color: [40, 50, 60], drivable: true },
  ]
  const ids = Uint8Array.of(0, 1, 255)
  assert.deepEqual([...paint(ids, classes)], [10, 20, 30, 255, 40, 50, 60, 255, 0, 0, 0, 0])
  assert.equal(paint(ids, classes, { hidden: new Set([0]) })[3], 0)
  const lines = new Uint32Array(paint(fill(1), classes, { patternWidth: WIDTH }).buffer)
  assert.ok(lines.includes(0xffffffff) && lines.some((pixel) => pixel !== 0xffffffff))
})
