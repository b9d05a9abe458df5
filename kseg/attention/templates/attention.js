/* A click or an arrow key moves the query point; every canvas then shows one head's weights there. */
(async () => {
  const data = JSON.parse(document.getElementById("attention").textContent);
  const [height, width] = data.size, [rows, columns] = data.points;
  const colors = Uint8Array.from(atob(data.colors), (c) => c.charCodeAt(0));
  const query = document.getElementById("query"), mean = document.getElementById("mean");
  let [row, column] = data.at;

  async function loadImage(source) {
    const image = new Image();
    image.src = source;
    await image.decode();
    return image;
  }
  function toCanvas(image, filter) {
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
  const image = await loadImage(data.image);
  const toGray = (scale) => toCanvas(image, (rgba) => {
    for (let i = 0; i < rgba.length; i += 4)
      rgba.fill(scale * (0.299 * rgba[i] + 0.587 * rgba[i + 1] + 0.114 * rgba[i + 2]), i, i + 3);
  })[0];
  const gray = toGray(1), dark = toGray(1 / 3);
  for (const stage of data.stages) {
    const [canvas, pixels] = toCanvas(await loadImage(stage.weights));
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
  function headWeights(stage, head) {
    if (head >= 0) return weights(stage, head);
    const all = Array.from({ length: stage.heads }, (_, i) => weights(stage, i));
    return all[0].map((_, key) => all.reduce((sum, head) => sum + head[key], 0) / stage.heads);
  }
  const queryCenter = () => [(row + 0.5) * height / rows, (column + 0.5) * width / columns];

  function drawHead(canvas) {
    const stage = data.stages[canvas.dataset.stage];
    const values = headWeights(stage, Number(canvas.dataset.head)), peak = Math.max(...values);
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
      context.globalAlpha = data.opacity;
      context.fillStyle = `rgb(${colors.subarray(level, level + 3).join()})`;
      context.fillRect(x, y, keyWidth, keyHeight);
      context.globalAlpha = 0.25;
      context.strokeStyle = "#fff";
      context.strokeRect(x + 0.5, y + 0.5, keyWidth, keyHeight);
    });
    context.restore();
    if (!mean.checked) {
      const cell = queryCenter().map((at, i) =>
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
    for (const [color, lineWidth] of [["#000", 4], ["#00e5ff", 2]]) {
      [context.strokeStyle, context.lineWidth] = [color, lineWidth];
      context.stroke();
    }
  }
  function draw() {
    const context = document.getElementById("image").getContext("2d");
    context.drawImage(image, 0, 0);
    const [y, x] = queryCenter();
    if (!mean.checked) cross(context, x, y, Math.max(8, width / 30));
    const name = data.names[data.classes[row * columns + column]];
    document.getElementById("status").textContent = mean.checked
      ? "The mean over all queries of the image."
      : `Point x ${Math.round(x)}, y ${Math.round(y)} of ${width} x ${height}: ` +
        `the model predicts ${name}.`;
    document.querySelectorAll("canvas[data-stage]").forEach(drawHead);
  }
  function move(toRow, toColumn) {
    row = Math.max(0, Math.min(rows - 1, toRow));
    column = Math.max(0, Math.min(columns - 1, toColumn));
    mean.checked = false;
    draw();
  }
  query.addEventListener("click", (event) => {
    const box = query.getBoundingClientRect();
    move(Math.floor((rows * (event.clientY - box.top)) / box.height),
      Math.floor((columns * (event.clientX - box.left)) / box.width));
  });
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  query.addEventListener("keydown", (event) => {
    if (!(event.key in moves) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const step = event.shiftKey ? 5 : 1, [down, right] = moves[event.key];
    move(row + step * down, column + step * right);
  });
  mean.addEventListener("change", draw);
  draw();
  document.body.dataset.ready = "yes";
})();
