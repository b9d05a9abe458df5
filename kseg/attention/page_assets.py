"""What makes the attention page answer: its style and its JavaScript."""

STYLE = """
.ask { display: grid; gap: .5rem 2rem; } .ask > * { min-width: 0; }
@media (min-width: 48rem) { .ask { grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); } }
canvas { width: 100%; height: auto; display: block; }
#ask { cursor: crosshair; touch-action: manipulation; }
:focus-visible { outline: 3px solid var(--bar); outline-offset: 2px; }
.heads { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); }
.patches { min-width: 50rem; }
"""

SCRIPT = """
(async () => {
  const told = JSON.parse(document.getElementById("attention").textContent);
  const [height, width] = told.size, [rows, columns] = told.points;
  const colors = Uint8Array.from(atob(told.colors), (c) => c.charCodeAt(0));
  const ask = document.getElementById("ask"), mean = document.getElementById("mean");
  let [row, column] = told.at;

  async function picture(source) {
    const image = new Image();
    image.src = source;
    await image.decode();
    return image;
  }
  function drawn(image, filter) {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.width, image.height];
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, image.width, image.height);
    if (filter) {
      filter(pixels.data);
      context.putImageData(pixels, 0, 0);
    }
    return [canvas, pixels.data];
  }
  const image = await picture(told.image);
  const grayed = (scale) => drawn(image, (data) => {
    for (let i = 0; i < data.length; i += 4)
      data.fill(scale * (0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2]), i, i + 3);
  })[0];
  const gray = grayed(1), dark = grayed(1 / 3);
  for (const stage of told.stages) {
    const [canvas, pixels] = drawn(await picture(stage.weights));
    stage.count = canvas.width;
    stage.packed = pixels.filter((_, i) => i % 4 === 0);
  }

  // A head's weights at the point, or over the image; they sum to 1.
  function weights(stage, head) {
    const points = rows * columns;
    const at = mean.checked ? points : row * columns + column;
    const first = (head * (points + 1) + at) * stage.count;
    const packed = stage.packed.subarray(first, first + stage.count);
    const sum = packed.reduce((a, b) => a + b, 0);
    return Array.from(packed, (value) => value / sum);
  }
  function shown(stage, head) {
    if (head >= 0) return weights(stage, head);
    const all = Array.from({ length: stage.heads }, (_, i) => weights(stage, i));
    return all[0].map((_, key) => all.reduce((sum, one) => sum + one[key], 0) / stage.heads);
  }
  const middle = () => [(row + 0.5) * height / rows, (column + 0.5) * width / columns];

  function drawHead(canvas) {
    const stage = told.stages[canvas.dataset.stage];
    const values = shown(stage, Number(canvas.dataset.head)), peak = Math.max(...values);
    [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d");
    const [keyHeight, keyWidth] = stage.key, [keyRows, keyColumns] = stage.keys;
    context.drawImage(dark, 0, 0);
    context.save();
    context.beginPath();
    context.rect(0, 0, keyColumns * keyWidth, keyRows * keyHeight);
    context.clip();
    context.drawImage(gray, 0, 0);
    values.forEach((value, key) => {
      const [x, y] = [(key % keyColumns) * keyWidth, Math.floor(key / keyColumns) * keyHeight];
      const level = 3 * Math.round((255 * value) / peak);
      context.globalAlpha = told.heat;
      context.fillStyle = `rgb(${colors.subarray(level, level + 3).join()})`;
      context.fillRect(x, y, keyWidth, keyHeight);
      context.globalAlpha = 0.25;
      context.strokeStyle = "#fff";
      context.strokeRect(x + 0.5, y + 0.5, keyWidth, keyHeight);
    });
    context.restore();
    if (!mean.checked) {
      const cell = middle().map((at, i) =>
        Math.min(Math.floor(at / stage.pixels), stage.queries[i] - 1) * stage.pixels);
      cross(context, cell[1] + stage.pixels / 2, cell[0] + stage.pixels / 2, 6);
      context.strokeRect(cell[1], cell[0], stage.pixels, stage.pixels);
    }
    const digits = peak < 0.1 ? 1 : 0;
    canvas.parentNode.querySelector("span").textContent = (100 * peak).toFixed(digits) + "%";
  }
  function cross(context, x, y, arm) {
    context.beginPath();
    context.moveTo(x - arm, y);
    context.lineTo(x + arm, y);
    context.moveTo(x, y - arm);
    context.lineTo(x, y + arm);
    for (const [color, wide] of [["#000", 4], ["#00e5ff", 2]]) {
      [context.strokeStyle, context.lineWidth] = [color, wide];
      context.stroke();
    }
  }
  function draw() {
    const context = document.getElementById("image").getContext("2d");
    context.drawImage(image, 0, 0);
    const [y, x] = middle();
    if (!mean.checked) cross(context, x, y, Math.max(8, width / 30));
    const name = told.names[told.classes[row * columns + column]];
    document.getElementById("told").textContent = mean.checked
      ? "The mean over all queries of the image."
      : `Point x ${Math.round(x)}, y ${Math.round(y)} of ${width} x ${height}: ` +
        `the model says ${name}.`;
    document.querySelectorAll("canvas[data-stage]").forEach(drawHead);
  }
  function move(toRow, toColumn) {
    row = Math.max(0, Math.min(rows - 1, toRow));
    column = Math.max(0, Math.min(columns - 1, toColumn));
    mean.checked = false;
    draw();
  }
  ask.addEventListener("click", (event) => {
    const box = ask.getBoundingClientRect();
    move(Math.floor((rows * (event.clientY - box.top)) / box.height),
      Math.floor((columns * (event.clientX - box.left)) / box.width));
  });
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  ask.addEventListener("keydown", (event) => {
    if (!(event.key in steps) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const far = event.shiftKey ? 5 : 1, [down, right] = steps[event.key];
    move(row + far * down, column + far * right);
  });
  mean.addEventListener("change", draw);
  draw();
  document.body.dataset.ready = "yes";
})();
"""
