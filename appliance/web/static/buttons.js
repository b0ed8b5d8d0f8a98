// Two helpers for buttons; a page works without them.
//
// data-copy names an element whose text the button copies. The button is
// hidden where there is no clipboard. data-busy holds the words of a button
// whose form takes long to be answered.
'use strict';

(() => {
  const say = (button, words) => {
    button.dataset.words ??= button.textContent;
    button.textContent = words;
  };
  const restore = (button) => { button.textContent = button.dataset.words ?? button.textContent; };

  const copy = async (button) => {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch { // not allowed: mark the text, so that the person can copy it
      getSelection().selectAllChildren(source);
      return;
    }
    say(button, button.dataset.copied);
    setTimeout(restore, 3000, button);
  };

  document.querySelectorAll('button[data-copy]').forEach((button) => {
    if (!navigator.clipboard) return;
    button.hidden = false;
    button.addEventListener('click', () => copy(button));
  });

  document.querySelectorAll('button[data-busy]').forEach((button) => {
    button.form.addEventListener('submit', (e) => {
      if (button.ariaDisabled === 'true') { // it is under way
        e.preventDefault();
        return;
      }
      button.ariaDisabled = 'true';
      say(button, button.dataset.busy);
    });
    // A page that comes back from the back-forward cache is as it was left.
    addEventListener('pageshow', () => {
      button.ariaDisabled = null;
      restore(button);
    });
  });
})();
