/* Wipes between two images of one frame. The images are those of the articles below. */
(() => {
  const find = (id) => document.getElementById("viewer-" + id);
  const [frame, left, right, wipe] = ["frame", "left", "right", "wipe"].map(find);
  const [under, over, edge, stage] = ["under", "over", "edge", "stage"].map(find);
  const frames = document.querySelectorAll(".frame");
  const viewName = (select) => select.selectedOptions[0].textContent;
  function show() {
    const article = frames[frame.selectedIndex];
    for (const [image, select, tag] of [[under, left, "left"], [over, right, "right"]]) {
      const source = article.querySelector(`img[data-view="${select.value}"]`);
      image.src = source.src;
      image.alt = source.alt;
      find("tag-" + tag).textContent = viewName(select);
    }
    find("status").textContent = article.querySelector("p").textContent;
    move();
  }
  function move() {
    const at = wipe.value;
    over.style.clipPath = `inset(0 0 0 ${at}%)`;
    edge.style.left = at + "%";
    wipe.setAttribute("aria-valuetext", `${at} % ${viewName(left)}, ${100 - at} % ${viewName(right)}`);
  }
  function drag(event) {
    const box = stage.getBoundingClientRect();
    wipe.value = Math.round(100 * (event.clientX - box.left) / box.width);
    move();
  }
  for (const select of [frame, left, right]) select.addEventListener("change", show);
  wipe.addEventListener("input", move);
  stage.addEventListener("pointerdown", drag);
  stage.addEventListener("pointermove", (event) => event.buttons && drag(event));
  frames.forEach((article, i) => {
    const button = article.querySelector("button");
    button.hidden = false;
    button.addEventListener("click", () => {
      frame.selectedIndex = i;
      show();
      document.getElementById("viewer").scrollIntoView();
      wipe.focus();
    });
  });
  document.getElementById("viewer").hidden = false;
  show();
})();
