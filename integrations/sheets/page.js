(() => {
  const bar = document.querySelector(".bar"), line = bar.querySelector("code"), copy = bar.querySelector("button");
  const boxes = [...document.querySelectorAll(".frame input")];
  const show = () => {
    const picked = boxes.filter((b) => b.checked).map((b) => b.value);
    bar.hidden = picked.length === 0;
    line.textContent = `${bar.dataset.command} --pick ${picked.join(" ")}`;
    copy.textContent = "Copy";
  };
  boxes.forEach((b) => b.addEventListener("change", show));
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(line.textContent);
      copy.textContent = "Copied";
    } catch {
      // Browsers may refuse the clipboard to a page opened from disk: select the command instead.
      getSelection().selectAllChildren(line);
      copy.textContent = document.execCommand("copy") ? "Copied" : "Selected";
    }
  });
  document.querySelectorAll(".switch button").forEach((button, _, all) => button.addEventListener("click", () => {
    all.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
    document.body.classList.toggle("finals", button.value === "finals");
  }));
  show();
})();
