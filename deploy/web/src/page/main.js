import { Latency } from '../core/latency.js'
import { parseRows } from '../core/lane_measures.js'
import { paint } from '../core/overlay.js'
import { encodeMask } from '../core/png.js'
import { lastModel, rememberModel } from './last_model.js'

/** @typedef {import('../core/contract.js').Contract} Contract */
/** @typedef {{name: string, timeS: number | null, number: number, input: number}} Frame */

const MAX_LINES = 100_000

/** @template {HTMLElement} T @param {string} id @param {new () => T} type @returns {T} */
function element(id, type) {
  const found = document.getElementById(id)
  if (!(found instanceof type)) throw new Error(`no ${id}`)
  return found
}

const view = element('view', HTMLCanvasElement)
const video = element('video', HTMLVideoElement)
const message = element('message', HTMLElement)
const camera = element('camera', HTMLButtonElement)
const models = element('models', HTMLSelectElement)
const saves = ['save-picture', 'save-mask', 'save-lines'].map((id) => element(id, HTMLButtonElement))
const worker = new Worker(new URL('../segmenter.worker.js', import.meta.url))

const state = {
  /** @type {Contract | null} */ contract: null,
  /** @type {{name: string, bytes: Uint8Array} | null} */ model: null,
  name: '',
  device: 'cpu',
  busy: false, // A frame is in the worker.
  waiting: false, // The video has shown a newer frame since.
  /** @type {File | null} */ image: null,
  input: 0, // Counts inputs, so that a frame of an earlier one is not shown.
  source: '', // The frames' name.
  frames: 0,
  dropped: 0,
  /** @type {Frame | null} */ frame: null, // In the worker.
  /** @type {{bitmap: ImageBitmap, ids: Uint8Array, frame: Frame} | null} */ shown: null,
  latency: new Latency(),
  /** @type {string[]} */ lines: [],
  /** @type {Set<number>} */ hidden: new Set(),
}

/** Shows one line about a problem, or hides it. @param {string} [text] */
function say(text = '') {
  message.textContent = text
  message.hidden = !text
}

// Models

/** @param {string} name @param {Uint8Array} bytes */
function loadModel(name, bytes) {
  const device = document.querySelector('input[name=device]:checked')
  say()
  element('model', HTMLElement).textContent = `${name}: loading`
  state.model = { name, bytes }
  const wanted = device instanceof HTMLInputElement ? device.value : 'cpu'
  worker.postMessage({ do: 'load', name, bytes, device: wanted, base: document.baseURI })
}

/** @param {string} file */
async function fetchModel(file) {
  try {
    const response = await fetch(file)
    if (!response.ok) throw new Error(`status ${response.status}`)
    const name = file.split('/').pop() ?? file
    loadModel(name, new Uint8Array(await response.arrayBuffer()))
  } catch (error) {
    say(`${file}: cannot be loaded (${/** @type {Error} */ (error).message})`)
  }
}

/** @param {{name: string, contract: Contract, device: string, threads: number, note: string}} loaded */
function showModel({ name, contract, device, threads, note }) {
  Object.assign(state, { contract, name, device, latency: new Latency(), hidden: new Set() })
  const where = device === 'gpu' ? 'GPU' : `CPU, ${threads} thread${threads > 1 ? 's' : ''}`
  const [height, width] = contract.inputSize
  const line = `${name} · ${contract.model} ${contract.precision} ${height}×${width} · ${where}`
  element('model', HTMLElement).textContent = line
  element('agreement', HTMLElement).textContent = '–'
  say(note)
  showLegend(contract)
  if (state.model) rememberModel(state.model)
  state.busy = false
  if (state.image) state.waiting = true
}

/** @param {Contract} contract */
function showLegend({ classes }) {
  const items = classes.map((label) => {
    const item = document.createElement('li')
    const button = document.createElement('button')
    const [swatch, text, share] = ['i', 'span', 'output'].map((tag) => document.createElement(tag))
    swatch.style.backgroundColor = `rgb(${label.color.join(' ')})`
    text.textContent = label.name
    share.dataset.id = String(label.id)
    Object.assign(button, { type: 'button', title: `Show or hide ${label.name}` })
    button.setAttribute('aria-pressed', 'true')
    button.append(swatch, text, share)
    button.onclick = () => {
      const hide = !state.hidden.delete(label.id)
      if (hide) state.hidden.add(label.id)
      button.setAttribute('aria-pressed', String(!hide))
      draw()
    }
    item.append(button)
    return item
  })
  element('legend', HTMLElement).replaceChildren(...items)
}

// Frames

/** Starts another input. @param {string} name */
function startInput(name) {
  if (video.srcObject instanceof MediaStream) for (const t of video.srcObject.getTracks()) t.stop()
  video.pause()
  video.srcObject = null
  if (video.src) URL.revokeObjectURL(video.src)
  video.removeAttribute('src')
  camera.setAttribute('aria-pressed', 'false')
  Object.assign(state, { image: null, source: name, frames: 0, dropped: 0, lines: [], waiting: false })
  state.latency = new Latency()
  state.input++
  say()
}

/** @param {File} file */
async function openMedia(file) {
  const name = file.name.replace(/\.[^.]*$/, '')
  startInput(name)
  if (file.type.startsWith('video/')) {
    video.src = URL.createObjectURL(file)
    await playVideo(file.name)
  } else {
    state.image = file
    state.waiting = true
    takeFrame()
  }
}

/** @param {string} name */
async function playVideo(name) {
  try {
    await video.play()
    video.requestVideoFrameCallback(onVideoFrame)
  } catch {
    say(`${name}: cannot be decoded as a video by this browser`)
  }
}

async function startCamera() {
  if (camera.getAttribute('aria-pressed') === 'true') {
    startInput('')
    return
  }
  startInput('camera')
  if (!navigator.mediaDevices) {
    say('Camera: browsers allow it only over https, or on this computer itself (localhost)')
    return
  }
  try {
    const wanted = { facingMode: 'environment', width: { ideal: 1280 }, height: { ideal: 720 } }
    const stream = await navigator.mediaDevices.getUserMedia({ video: wanted })
    stream.getVideoTracks()[0].onended = () => say('Camera: it was disconnected')
    video.srcObject = stream
    camera.setAttribute('aria-pressed', 'true')
    await playVideo('Camera')
  } catch (error) {
    const { name, message: reason } = /** @type {DOMException} */ (error)
    const refused = name === 'NotAllowedError' || name === 'SecurityError'
    if (refused) say('Camera: access was refused; allow it in the browser’s settings for this page')
    else if (name === 'NotFoundError') say('Camera: this device has none')
    else say(`Camera: cannot be opened (${reason})`)
  }
}

/** @param {number} _ @param {VideoFrameCallbackMetadata} [metadata] */
function onVideoFrame(_, metadata) {
  if (!video.src && !video.srcObject) return
  video.requestVideoFrameCallback(onVideoFrame)
  timeS = metadata?.mediaTime ?? video.currentTime
  if (!state.contract) return
  if (state.waiting) countDropped() // The one before was never taken.
  state.waiting = true
  takeFrame()
}
let timeS = 0

function countDropped() {
  state.dropped++
  state.frames++
  element('dropped', HTMLElement).textContent = String(state.dropped)
}

/** Segments the image, or the video's newest frame, once the worker is free. */
async function takeFrame() {
  if (state.busy || !state.waiting || !state.contract) return
  state.waiting = false
  state.busy = true
  const { image, input } = state
  const time = image ? null : timeS
  let bitmap = null
  try {
    const options = /** @type {const} */ ({ colorSpaceConversion: 'none', premultiplyAlpha: 'none' })
    bitmap = await (image ? createImageBitmap(image, options) : createImageBitmap(video))
  } catch {
    if (image) say(`${image.name}: cannot be decoded as an image by this browser`)
  }
  if (bitmap && input === state.input) send(bitmap, time)
  else {
    state.busy = false
    takeFrame()
  }
}

/** @param {ImageBitmap} bitmap @param {number | null} time */
function send(bitmap, time) {
  let rows
  try {
    rows = parseRows(element('rows', HTMLInputElement).value)
  } catch (error) {
    say(/** @type {Error} */ (error).message)
    rows = /** @type {number[]} */ ([])
  }
  state.frame = { name: state.source, timeS: time, number: state.frames++, input: state.input }
  const arrived = performance.timeOrigin + performance.now()
  worker.postMessage({ do: 'segment', bitmap, rows, arrived }, [bitmap])
}

/** @param {any} result */
function showFrame({ bitmap, ids, latencyMs, ageMs, check, passedOver, ranOnBoth, measures }) {
  const frame = /** @type {Frame} */ (state.frame)
  if (frame.input !== state.input) {
    bitmap.close()
    return
  }
  state.shown?.bitmap.close()
  state.shown = { bitmap, ids, frame }
  if (!ranOnBoth) state.latency.add(latencyMs, performance.now())
  if (state.lines.length < MAX_LINES) {
    const time = frame.timeS === null ? null : Number(frame.timeS.toFixed(4))
    const record = { frame: frame.number, name: frame.name, time_s: time }
    const times = { latency_ms: Number(latencyMs.toFixed(3)), age_ms: Number(ageMs.toFixed(3)) }
    const rest = { dropped: state.dropped, gpu_check: check, ...measures }
    state.lines.push(JSON.stringify({ ...record, ...times, ...rest }))
  }
  view.dataset.shown = `${state.name} ${frame.name} ${frame.number} on the ${state.device}`
  draw()
  showStatistics(check, passedOver)
  for (const button of saves) button.disabled = false
  element('hint', HTMLElement).hidden = true
}

/** @param {{agreement: number} | null} check @param {number} passedOver */
function showStatistics(check, passedOver) {
  const number = (/** @type {number} */ value, unit = '') =>
    Number.isFinite(value) ? `${value.toFixed(1)}${unit}` : '–'
  for (const [id, percent] of /** @type {[string, number][]} */ ([['median', 50], ['p90', 90], ['p99', 99]])) {
    element(id, HTMLElement).textContent = number(state.latency.percentile(percent), ' ms')
  }
  element('fps', HTMLElement).textContent = number(state.latency.framesPerSecond())
  const agreement = element('agreement', HTMLElement)
  const compared = check ? `${(100 * check.agreement).toFixed(2)} %` : passedOver ? 'not yet' : '–'
  agreement.textContent = state.device === 'gpu' ? compared : '–'
  const { ids } = /** @type {{ids: Uint8Array}} */ (state.shown)
  const counts = new Uint32Array(256)
  for (const id of ids) counts[id]++
  for (const share of document.querySelectorAll('#legend output')) {
    const id = Number(/** @type {HTMLElement} */ (share).dataset.id)
    share.textContent = `${((100 * counts[id]) / ids.length).toFixed(1)} %`
  }
}

// Drawing

/** Draws the frame and the colours; side by side: the frame, and beside or below it the classes. */
function draw() {
  const { shown, contract } = state
  if (!shown || !contract) return
  const { width, height } = shown.bitmap
  const side = element('side', HTMLInputElement).checked
  const below = side && width > height && innerWidth < innerHeight
  const [columns, rows] = [side && !below ? 2 : 1, below ? 2 : 1]
  if (view.width !== width * columns) view.width = width * columns
  if (view.height !== height * rows) view.height = height * rows
  const context = /** @type {CanvasRenderingContext2D} */ (view.getContext('2d'))
  const patterns = element('patterns', HTMLInputElement).checked
  const options = { hidden: state.hidden, patternWidth: patterns ? width : 0 }
  const colors = new OffscreenCanvas(width, height)
  const pixels = new ImageData(paint(shown.ids, contract.classes, options), width, height)
  colors.getContext('2d')?.putImageData(pixels, 0, 0)
  const [left, top] = [side && !below ? width : 0, below ? height : 0]
  context.clearRect(0, 0, view.width, view.height)
  context.drawImage(shown.bitmap, 0, 0)
  if (side) {
    context.fillStyle = '#000'
    context.fillRect(left, top, width, height)
  }
  context.globalAlpha = side ? 1 : Number(element('opacity', HTMLInputElement).value) / 100
  context.drawImage(colors, left, top)
  context.globalAlpha = 1
}

// Saving

/** @param {Blob} blob @param {string} name */
function save(blob, name) {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(blob)
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
}

saves[0].onclick = () => view.toBlob((blob) => blob && save(blob, `${state.source}.png`))
saves[1].onclick = async () => {
  if (!state.shown) return
  const { bitmap, ids } = state.shown
  save(await encodeMask(ids, [bitmap.height, bitmap.width]), `${state.source}-mask.png`)
}
saves[2].onclick = () => {
  const text = state.lines.map((line) => `${line}\n`).join('')
  save(new Blob([text], { type: 'application/jsonl' }), `${state.source}.jsonl`)
}

// Events

worker.onmessage = ({ data }) => {
  if (data.type === 'model') showModel(data)
  else if (data.type === 'fallback') {
    state.device = 'cpu'
    state.latency = new Latency()
    say(data.note)
  } else if (data.type === 'error') {
    say(data.message)
    element('model', HTMLElement).textContent = data.keeps ? state.name : 'No model'
    if (!data.keeps) state.contract = null
  } else {
    state.busy = false
    if (data.type === 'frame') showFrame(data)
    else {
      say(data.message)
      if (data.type === 'stopped') state.contract = null
    }
  }
  takeFrame()
}
worker.onerror = (event) => say(`The page failed (${event.message}); reload it`)

/** @param {File} file */
async function openFile(file) {
  if (!file.name.endsWith('.tflite') && /^(image|video)\//.test(file.type)) await openMedia(file)
  else loadModel(file.name, new Uint8Array(await file.arrayBuffer()))
}

for (const id of ['model-file', 'media-file']) {
  const input = element(id, HTMLInputElement)
  input.onchange = () => {
    if (input.files?.[0]) openFile(input.files[0])
    input.value = '' // So that the same file can be picked again.
  }
}
for (const id of ['opacity', 'side', 'patterns']) element(id, HTMLInputElement).oninput = draw
for (const radio of document.querySelectorAll('input[name=device]')) {
  radio.addEventListener('change', () => state.model && loadModel(state.model.name, state.model.bytes))
}
camera.onclick = startCamera
models.onchange = () => models.value && fetchModel(models.value)
addEventListener('resize', draw)

const stage = element('stage', HTMLElement)
addEventListener('dragover', (event) => {
  event.preventDefault()
  stage.classList.add('drop')
})
addEventListener('dragleave', () => stage.classList.remove('drop'))
addEventListener('drop', (/** @type {DragEvent} */ event) => {
  event.preventDefault()
  stage.classList.remove('drop')
  for (const file of event.dataTransfer?.files ?? []) openFile(file)
})

async function start() {
  const response = await fetch('models.json')
  /** @type {{name: string, file: string, served?: boolean}[]} */
  const listed = await response.json()
  models.replaceChildren(new Option('Choose a model', ''), ...listed.map((m) => new Option(m.name, m.file)))
  const served = listed.find((model) => model.served)
  const last = served ? undefined : await lastModel()
  if (state.model) return // The user was faster.
  if (last) loadModel(last.name, last.bytes)
  else if (listed.length) await fetchModel((served ?? listed[0]).file)
}

start()
if ('serviceWorker' in navigator) navigator.serviceWorker.register('sw.js')
