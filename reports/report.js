"use strict";
// The player: frames come from the page's own JSON, one packed sheet a session and kind. No name becomes markup.
(() => {
  const films = JSON.parse(document.getElementById("films").textContent);
  const PLAY_FPS = 12;

  function start(root, film) {
    const canvases = [...root.querySelectorAll("canvas")];
    const slider = root.querySelector("input[type=range]");
    const select = root.querySelector("select");
    const play = root.querySelector("[data-do=play]");
    const failing = root.querySelector("[data-do=failing]");
    const sheets = new Map();
    let timer = 0;

    function sheet(session, kind) {
      const key = session + kind;
      if (!sheets.has(key)) {
        const image = new Image();
        image.addEventListener("load", draw);
        image.src = film.sessions[session][kind];
        sheets.set(key, image);
      }
      return sheets.get(key);
    }

    function draw() {
      const frame = Number(slider.value);
      const x = (frame % film.columns) * film.width;
      const y = Math.floor(frame / film.columns) * film.height;
      for (const canvas of canvases) {
        const image = sheet(select.value, canvas.dataset.kind);
        if (!image.complete || !image.naturalWidth) continue;
        const context = canvas.getContext("2d");
        context.imageSmoothingEnabled = false;
        context.drawImage(image, x, y, film.width, film.height, 0, 0, film.width, film.height);
        canvas.setAttribute("aria-label", `${canvas.dataset.name}, frame ${frame} of session ${select.value}`);
      }
      const show = (name, text) => { root.querySelector(`[data-show=${name}]`).textContent = text; };
      show("frame", `frame ${frame} of 0–${film.frames - 1}`);
      for (const figure of ["psnr", "envelope", "ssim"]) {
        const mark = figure === "psnr" && frame === film.failing ? "✕ first failing: " : "";
        show(figure, `${mark}${film.labels[figure]} ${film[figure][frame] ?? "not measured"}`);
      }
      root.querySelector("[data-show=psnr]").classList.toggle("bad", frame === film.failing);
      slider.setAttribute("aria-valuetext", `frame ${frame}, ${film.labels.psnr} ${film.psnr[frame]}`);
    }

    function stop() {
      clearInterval(timer);
      timer = 0;
      play.textContent = "▶ play";
      play.setAttribute("aria-label", "Play");
    }

    function toggle() {
      if (timer) return stop();
      play.textContent = "❚❚ pause";
      play.setAttribute("aria-label", "Pause");
      timer = setInterval(() => {
        slider.value = (Number(slider.value) + 1) % film.frames;
        draw();
      }, 1000 / PLAY_FPS);
    }

    function go(frame) {
      stop();
      slider.value = frame;
      draw();
    }

    slider.addEventListener("input", () => { stop(); draw(); });
    select.addEventListener("change", draw);
    play.addEventListener("click", toggle);
    failing?.addEventListener("click", () => go(film.failing));
    root.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || event.target === select) return;
      const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -film.frames, End: film.frames };
      if (event.key in steps) go(Number(slider.value) + steps[event.key]);
      else if (event.key === " " && event.target.tagName !== "BUTTON") toggle();
      else return;
      event.preventDefault();
    });
    root.hidden = false;
    if (film.failing !== null) slider.value = film.failing;
    draw();
  }

  for (const root of document.querySelectorAll("[data-film]")) start(root, films[root.dataset.film]);

  // Closed parts would be missing on paper.
  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details:not(.bulk)")) part.open = true;
  });

  // A link may lead into a closed part.
  function reveal() {
    const found = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let part = found?.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
  }
  addEventListener("hashchange", reveal);
  reveal();

  // Only what scrolls is a stop for the keyboard.
  const scrollers = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
      else target.removeAttribute("tabindex");
    }
  });
  for (const part of document.querySelectorAll(".scroll")) scrollers.observe(part);
})();
