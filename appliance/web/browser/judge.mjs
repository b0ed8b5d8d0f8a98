// Runs inside the page and returns what is wrong with it, in words.
export const judge = () => {
  const faults = [];
  const root = document.documentElement;
  const describe = (e) => e.outerHTML.slice(0, 140).replace(/\s+/g, ' ');
  const visible = (e) => e.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && e.getBoundingClientRect().width > 1;

  // Layout: nothing is wider than the screen.
  if (root.scrollWidth > root.clientWidth) faults.push(`the page is ${root.scrollWidth} px wide on ${root.clientWidth}`);
  for (const e of document.body.querySelectorAll('*')) {
    const box = e.getBoundingClientRect();
    if (visible(e) && box.width > 0 && box.right > root.clientWidth + 1) faults.push(`sticks out to ${Math.round(box.right)}: ${describe(e)}`);
  }

  for (const e of document.querySelectorAll('.card, .problem')) {
    if (visible(e) && e.scrollWidth > e.clientWidth + 1) faults.push(`is too narrow for what is in it: ${describe(e)}`);
  }

  for (const e of document.querySelectorAll('button, .button, label, summary, legend, nav a, dt, .state, .list thead th')) {
    const texts = document.createTreeWalker(e, NodeFilter.SHOW_TEXT);
    while (visible(e) && texts.nextNode()) {
      for (const word of texts.currentNode.textContent.matchAll(/\S+/g)) {
        const range = document.createRange();
        range.setStart(texts.currentNode, word.index);
        range.setEnd(texts.currentNode, word.index + word[0].length);
        if (new Set([...range.getClientRects()].map((r) => Math.round(r.top))).size > 1) faults.push(`breaks the word ${word[0]}: ${describe(e)}`);
      }
    }
  }

  // Names and structure.
  if (!root.lang) faults.push('no language');
  if (!document.title) faults.push('no title');
  if (document.querySelectorAll('h1').length !== 1) faults.push('not exactly one h1');
  if (document.querySelectorAll('main').length !== 1) faults.push('not exactly one main');
  for (const e of document.querySelectorAll('input:not([type=hidden]):not([aria-hidden]), select, textarea')) {
    if (!e.labels.length && !e.getAttribute('aria-label')) faults.push(`no label: ${describe(e)}`);
    for (const id of (e.getAttribute('aria-describedby') || '').split(/\s+/).filter(Boolean)) {
      if (!document.getElementById(id)) faults.push(`described by ${id}, which is not there: ${describe(e)}`);
    }
  }
  for (const e of document.querySelectorAll('a[href], button, summary, section, nav')) {
    const by = e.getAttribute('aria-labelledby');
    const name = e.getAttribute('aria-label') || (by ? document.getElementById(by)?.textContent : '') ||
      (e.matches('section, nav') ? '' : e.textContent);
    if (!name?.trim()) faults.push(`no name: ${describe(e)}`);
  }
  for (const e of document.querySelectorAll('img')) if (!e.hasAttribute('alt')) faults.push(`no alt: ${describe(e)}`);
  const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
  for (const id of new Set(ids.filter((id, i) => ids.indexOf(id) !== i))) faults.push(`id ${id} is there twice`);

  // Fingers: what is tapped alone is at least 24 px high (WCAG 2.2 §2.5.8).
  for (const e of document.querySelectorAll('button, .button, select, input:not([type=hidden]):not([aria-hidden]):not([type=checkbox]), summary, nav a')) {
    const box = e.getBoundingClientRect();
    if (visible(e) && box.height < 24) faults.push(`only ${Math.round(box.height)} px high: ${describe(e)}`);
  }

  // Contrast of every text with what is behind it (WCAG 2.2 §1.4.3).
  const parse = (css) => {
    let m = css.match(/^rgba?\(([\d.]+),? ([\d.]+),? ([\d.]+)(?:,? \/? ?([\d.]+))?\)$/);
    if (m) return [m[1] / 255, m[2] / 255, m[3] / 255, m[4] === undefined ? 1 : Number(m[4])];
    m = css.match(/^color\(srgb ([\d.e-]+) ([\d.e-]+) ([\d.e-]+)(?: \/ ([\d.e-]+))?\)$/);
    if (m) return [Number(m[1]), Number(m[2]), Number(m[3]), m[4] === undefined ? 1 : Number(m[4])];
    faults.push(`colour ${css} can't be read`);
    return [0, 0, 0, 1];
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const ground = (e) => {
    const layers = [];
    for (let x = e; x; x = x.parentElement) layers.push(parse(getComputedStyle(x).backgroundColor));
    const canvas = matchMedia('(prefers-color-scheme: dark)').matches ? [0, 0, 0, 1] : [1, 1, 1, 1];
    return layers.reverse().reduce((under, top) => over(top, under), canvas);
  };
  const light = (c) => {
    const [r, g, b] = c.map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = new Set();
  while (texts.nextNode()) {
    const e = texts.currentNode.parentElement;
    if (!texts.currentNode.textContent.trim() || seen.has(e) || !visible(e) || e.closest('.hidden, .new, fieldset:disabled, option')) continue;
    seen.add(e);
    const style = getComputedStyle(e);
    const back = ground(e);
    const [a, b] = [light(over(parse(style.color), back)), light(back)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const big = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (big ? 3 : 4.5)) faults.push(`contrast ${ratio.toFixed(2)}: ${describe(e)}`);
  }
  return faults.slice(0, 12);
};
