// Counts the seconds that an image is open in a visible tab.

export class Clock {
  // `report(index, seconds)` hears what has been counted since it heard last.
  constructor(report) {
    this.report = report;
    this.index = null; // of the image that is open
    this.since = null; // when counting began; null while the tab is hidden
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.#pause(); // also what a page hears last when it is closed
      else this.#go();
    });
  }

  start(index) {
    this.stop();
    this.index = index;
    if (!document.hidden) this.#go();
  }

  stop() {
    this.#pause();
    this.index = null;
  }

  #go() {
    if (this.index !== null) this.since = performance.now();
  }

  #pause() {
    if (this.since !== null) this.report(this.index, (performance.now() - this.since) / 1000);
    this.since = null;
  }
}
