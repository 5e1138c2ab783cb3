// Preact and htm, as every module of the page takes them.

import htm from "./htm.js";
import { h, render } from "./preact-core.js";

export * from "./preact-hooks.js";
export { render };

/** Elements from a template: values become text or properties, and nothing else. */
export const html = htm.bind(h);
