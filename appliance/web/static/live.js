// Keeps a page in step with the box: its address of server-sent events is in
// data-live. An event "swap-x" replaces the content of data-swap="x"; an event
// "y" puts an item on top of data-prepend="y". The HTML is made and escaped by
// the box; no script can run in it, the content security policy sees to that.
'use strict';

(() => {
  const main = document.querySelector('[data-live]');
  if (!main || !window.EventSource) {
    document.querySelectorAll('[data-status]').forEach((e) => e.remove());
    return;
  }
  const plain = { createHTML: (s) => s };
  const policy = window.trustedTypes ? window.trustedTypes.createPolicy('patchbay', plain) : plain;
  const status = document.querySelector('[data-status]');
  const longest = 500; // entries of a story that stay on the page

  const say = (key) => {
    if (!status) return;
    status.dataset.is = key;
    const words = main.getAttribute(`data-say-${key}`);
    if (status.textContent !== words) status.textContent = words;
  };

  // A region that somebody is using with the keyboard waits until they leave.
  const swap = (region, html) => {
    if (region.contains(document.activeElement)) {
      region.waiting = html;
      return;
    }
    region.waiting = undefined;
    region.innerHTML = policy.createHTML(html);
  };

  const prepend = (list, html) => {
    const box = document.createElement('template');
    box.innerHTML = policy.createHTML(html);
    const item = box.content.firstElementChild;
    if (!item || list.querySelector(`[data-seq="${CSS.escape(item.dataset.seq)}"]`)) return;
    item.classList.add('new');
    list.prepend(item);
    while (list.children.length > longest) list.lastElementChild.remove();
    document.querySelectorAll('.empty-story').forEach((e) => e.remove());
  };

  let source;
  const open = () => {
    source = new EventSource(main.dataset.live);
    source.onopen = () => say('on');
    source.onerror = () => say(source.readyState === EventSource.CLOSED ? 'over' : 'off');
    document.querySelectorAll('[data-swap]').forEach((region) => {
      source.addEventListener(`swap-${region.dataset.swap}`, (e) => swap(region, e.data));
    });
    document.querySelectorAll('[data-prepend]').forEach((list) => {
      source.addEventListener(list.dataset.prepend, (e) => prepend(list, e.data));
    });
  };

  document.addEventListener('focusout', () => setTimeout(() => {
    document.querySelectorAll('[data-swap]').forEach((region) => {
      if (region.waiting !== undefined) swap(region, region.waiting);
    });
  }));
  // A page in the back-forward cache keeps no connection.
  window.addEventListener('pagehide', () => source.close());
  window.addEventListener('pageshow', (e) => { if (e.persisted) location.reload(); });
  open();
})();
