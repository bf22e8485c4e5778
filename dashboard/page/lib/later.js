// Loads the code of a view when it is first shown, so that the list of runs opens quickly.
import { html, useEffect, useState } from "./html.js";
import { Failure, Loading } from "../ui.js";

/** @param {() => Promise<any>} load */
export function later(load) {
  /** @type {any} */
  let known = null;
  return (/** @type {object} */ props) => {
    const [view, setView] = useState(() => known);
    const [error, setError] = useState(/** @type {Error | null} */ (null));
    useEffect(() => {
      if (known) return;
      load().then((found) => setView(() => (known = found)), setError);
    }, []);
    if (error) return html`<div class="page"><${Failure} error=${error} /></div>`;
    return view ? html`<${view} ...${props} />` : html`<${Loading} />`;
  };
}
