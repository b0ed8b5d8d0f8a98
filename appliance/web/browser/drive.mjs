// Uses the page as a person would, in headless Chromium, at one width. Says
// "ok <step>" for each step that worked and ends with status 1 at the first
// that did not. Every page that it passes is judged: no sideways scrolling, no
// message on the console (that is where policy violations are reported), a
// name for every control, enough contrast. TestBrowser starts it.
import { chromium } from 'playwright-core';
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { judge } from './judge.mjs';

const { WIDTH, PAGE, CONTROL, LANDING, CODE, PASSWORD, VECTORS, PATCHBAY_SHOTS, PATCHBAY_CHROMIUM } = process.env;
const width = Number(WIDTH);
const viewport = { width, height: width < 600 ? 740 : 900 };
let password = PASSWORD;
const yealink = '/phones/00:15:65:4a:a9:37';

const browser = await chromium.launch({
  executablePath: PATCHBAY_CHROMIUM || '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});

// Opens a tab whose console is watched.
const open = async (options = {}) => {
  const context = await browser.newContext({ viewport, ignoreHTTPSErrors: true, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  page.faults = [];
  page.on('console', (m) => {
    // A form that is refused is answered with its status, which Chromium notes.
    if (/the server responded with a status of (403|404|409|422|429)/.test(m.text())) return;
    if (m.type() === 'error' || m.type() === 'warning') page.faults.push(`console: ${m.text()}`);
  });
  page.on('pageerror', (e) => page.faults.push(`script: ${e.message}`));
  page.on('dialog', (d) => { page.faults.push(`dialog: ${d.message()}`); d.dismiss(); });
  return page;
};

const check = async (page, what) => {
  assert.deepEqual(page.faults, [], what);
  if (!page.scriptless) assert.deepEqual(await page.evaluate(judge), [], what);
};

const shot = async (page, name) => {
  await check(page, name);
  if (PATCHBAY_SHOTS) await page.screenshot({ path: join(PATCHBAY_SHOTS, `${name}-${width}.png`), fullPage: true });
};

// focused waits for the focus: the browser gives it a moment after the page can
// be read.
const focused = (field) => field.and(page.locator(':focus')).waitFor();

const step = async (name, work) => {
  try {
    await work();
  } catch (e) {
    console.log(`FAILED ${name}: ${e.message}`);
    await browser.close();
    process.exit(1);
  }
  console.log(`ok ${name}`);
};

const tell = async (path) => {
  const answer = await fetch(CONTROL + path, { method: 'POST' });
  assert.equal(answer.status, 200, path);
  return answer.text();
};

const login = async (page, to = '/') => {
  await page.goto(`${PAGE}/login?next=${encodeURIComponent(to)}`);
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.waitForURL(PAGE + to);
};

const page = await open();

await step('landing page of port 80', async () => {
  const plain = await open();
  await plain.goto(LANDING);
  assert.equal(await plain.getByRole('link', { name: 'Open the page' }).getAttribute('href'), `${PAGE}/`);
  await shot(plain, 'landing');
  await plain.context().close();
});

await step('first visit asks for the set-up code', async () => {
  await page.goto(`${PAGE}/phones`);
  await page.waitForURL(`${PAGE}/setup`);
  await shot(page, 'setup');
});

await step('a wrong code is told beside its field', async () => {
  await page.getByLabel('Set-up code').fill('AAAA-AAAA');
  await page.getByLabel('New password', { exact: true }).fill(PASSWORD);
  await page.getByLabel('New password again').fill(PASSWORD);
  await page.getByRole('button', { name: 'Set up' }).click();
  await page.getByText('That is not the set-up code of this box.').waitFor();
  assert.equal(await page.getByLabel('Set-up code').getAttribute('aria-invalid'), 'true');
  await shot(page, 'setup-wrong');
});

await step('set-up by keyboard alone', async () => {
  const code = page.getByLabel('Set-up code');
  await code.focus();
  await page.keyboard.press('Control+A');
  for (const text of [CODE.toLowerCase(), PASSWORD, PASSWORD]) {
    await page.keyboard.type(text);
    await page.keyboard.press('Tab');
  }
  await page.keyboard.press('Enter');
  await page.waitForURL(`${PAGE}/?done=setup`);
  await page.getByText('The box is yours.').waitFor();
});

await step('dashboard', async () => {
  await page.locator('[data-status][data-is=on]').waitFor();
  await page.getByText('The gateway refuses the line Reception.').waitFor();
  await shot(page, 'dashboard');
});

await step('the first stop of the keyboard leads to the content', async () => {
  await page.goto(`${PAGE}/`);
  await page.keyboard.press('Tab');
  const skip = page.getByRole('link', { name: 'Skip to the content' });
  assert.ok(await skip.evaluate((e) => e === document.activeElement && e.getBoundingClientRect().top >= 0));
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'content');
});

await step('every stop of the keyboard shows where it is', async () => {
  for (let i = 0; i < 25; i++) {
    await page.keyboard.press('Tab');
    const bare = await page.evaluate(() => {
      const e = document.activeElement;
      return e !== document.body && getComputedStyle(e).outlineStyle === 'none' ? e.outerHTML.slice(0, 120) : '';
    });
    assert.equal(bare, '');
  }
});

await step('sign out, wrong password, sign in', async () => {
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.waitForURL(`${PAGE}/login`);
  await shot(page, 'login');
  await page.getByLabel('Password').fill('not this one');
  await page.keyboard.press('Enter');
  await page.getByText('That is not the password.').waitFor();
  await shot(page, 'login-wrong');
  await login(page, '/lines');
});

await step('add a line', async () => {
  await shot(page, 'lines');
  await page.getByRole('link', { name: 'Add a line' }).click();
  await shot(page, 'line-new');
  await page.getByLabel('Name', { exact: true }).fill('Workshop');
  await page.getByLabel('Number').fill('+49 30 1234 5679');
  await page.getByLabel('Extension').fill('201');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('extension 201 belongs to Anna Beispiel already').waitFor();
  await focused(page.getByLabel('Extension'));
  await shot(page, 'line-refused');
  await page.getByLabel('Extension').fill('203');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.waitForURL(`${PAGE}/lines?done=line`);
  await page.getByRole('link', { name: 'Workshop' }).waitFor();
});

await step('edit a line', async () => {
  await page.getByRole('link', { name: 'Anna Beispiel' }).click();
  await page.getByText('A password is stored').waitFor();
  await page.getByText('Remove this line').click();
  await shot(page, 'line');
});

await step('find a phone', async () => {
  await page.goto(`${PAGE}/phones`);
  await page.locator('[data-status][data-is=on]').waitFor();
  await shot(page, 'phones');
  await page.getByLabel('Search').fill('t46');
  await page.getByRole('button', { name: 'Find' }).click();
  await page.getByText('1 to 1 of 1').waitFor();
  await page.getByRole('link', { name: 'Yealink SIP-T46U' }).click();
  await page.waitForURL(PAGE + yealink);
});

await step('assign the line', async () => {
  await page.locator('[data-status][data-is=on]').waitFor();
  await shot(page, 'phone');
  await page.getByLabel('Line', { exact: true }).nth(1).selectOption({ label: 'Workshop (203)' });
  await page.getByRole('button', { name: 'Assign the line of account 2' }).click();
  await page.waitForURL(`${PAGE}${yealink}?done=assigned`);
  await page.getByText('The line was assigned.').waitFor();
  await page.locator('[data-swap=account-2]').getByText('Workshop').waitFor();
});

await step('the story goes on without a reload', async () => {
  await page.locator('[data-status][data-is=on]').waitFor();
  await page.evaluate(() => { window.sameDocument = true; });
  const before = await page.locator('.step').count();
  await tell('/ring');
  await page.locator('.step').first().getByText('call with 202 failed (480): nobody answered').waitFor();
  await page.locator('.step').nth(1).getByText('is called by Reception (202)').waitFor();
  assert.equal(await page.locator('.step').count(), before + 2);
  assert.equal(await page.evaluate(() => window.sameDocument), true);
  await shot(page, 'phone-live');
});

await step('a phone that was refused says what to do', async () => {
  await page.goto(`${PAGE}/phones/00:00:5e:00:53:44`);
  await page.getByText('If 192.0.2.44 is the address on its screen, approve it').waitFor();
  await shot(page, 'phone-refused');
  await page.getByText('More for this phone').click();
  assert.equal(await page.getByLabel('IPv4 address of the phone').inputValue(), '192.0.2.44');
  await shot(page, 'phone-more');
  await page.getByRole('button', { name: 'Approve 192.0.2.44' }).click();
  await page.getByText('The address was approved.').waitFor();
});

await step('a setting of the vendor: compared, saved, put back', async () => {
  await page.goto(`${PAGE}/phones`);
  await page.getByRole('link', { name: 'Vendor settings' }).click();
  await page.waitForURL(`${PAGE}/overrides`);
  await page.getByLabel('Which phones').selectOption({ label: 'Yealink SIP-T46U (1)' });
  await page.getByRole('button', { name: 'Edit the settings' }).click();
  const settings = page.getByLabel('Settings', { exact: true });
  await settings.fill('admin_password = mine');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('the box sets it itself').waitFor();
  await focused(settings);
  await shot(page, 'overrides-refused');
  await settings.fill('phone_setting.backlight_time = 30');
  await page.getByRole('button', { name: 'Show the difference' }).click();
  await page.getByText('+phone_setting.backlight_time = 30').waitFor();
  await shot(page, 'overrides-diff');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('are asked to fetch').first().waitFor();
  assert.equal(await settings.inputValue(), 'phone_setting.backlight_time = 30');
  await shot(page, 'overrides');
  await page.getByRole('button', { name: 'Put back what was before' }).click();
  await page.getByText('What was said before is in force again.').waitFor();
  assert.equal(await settings.inputValue(), '');
});

await step('where configurations come from', async () => {
  await page.getByRole('link', { name: 'Source', exact: true }).click();
  await page.waitForURL(`${PAGE}/source`);
  const site = page.getByRole('region', { name: 'This site' });
  await site.getByLabel('Comes from').selectOption({ label: 'another service, asked by the box' });
  await page.getByRole('button', { name: 'Save for the site' }).click();
  await page.getByText('write an address, or one of').waitFor();
  await shot(page, 'source-refused');
  await site.getByLabel('Service').fill('emea');
  await site.getByLabel('Outbound proxy').fill('192.0.2.1');
  await page.getByRole('button', { name: 'Save for the site' }).click();
  await page.getByText('are asked to fetch').first().waitFor();
  const own = page.getByRole('region', { name: 'One phone' });
  await own.getByLabel('MAC address of the phone').fill('0015.654a.a937');
  await page.getByRole('button', { name: 'Save for the phone' }).click();
  await page.getByRole('link', { name: '00:15:65:4a:a9:37' }).waitFor();
  await shot(page, 'source');
  await page.getByRole('button', { name: 'End the source of 00:15:65:4a:a9:37' }).click();
  await page.waitForURL(`${PAGE}/source?done=source`);
  assert.equal(await page.getByRole('link', { name: '00:15:65:4a:a9:37' }).count(), 0);
  await page.goto(PAGE + yealink);
  await page.getByRole('link', { name: 'another service, asked by the box' }).waitFor();
  await shot(page, 'phone-source');
  await page.goto(`${PAGE}/source`);
  await site.getByRole('button', { name: 'As the configuration file says' }).click();
  await page.getByText('As the configuration file says.').waitFor();
});

await step('what phones are shown by HTTPS', async () => {
  await page.getByRole('link', { name: 'Certificate', exact: true }).click();
  await page.waitForURL(`${PAGE}/certificate`);
  await page.getByText('the box itself').waitFor();
  await page.getByText('does not accept the key').waitFor();
  await page.getByText('In the words of the other side').click();
  await page.getByText('says NOTAUTH').waitFor();
  await shot(page, 'certificate');
  const file = (name, text) => ({ name, mimeType: 'application/x-pem-file', buffer: Buffer.from(text) });
  const chain = page.getByLabel('Certificate and chain');
  const key = page.getByLabel('Private key');
  const save = page.getByRole('button', { name: 'Show it to phones' });
  await chain.setInputFiles(file('phones.pem', '-----BEGIN CERTIFICATE-----'));
  await save.click();
  await page.getByText('the private key is missing').waitFor();
  await chain.setInputFiles(file('phones.pem', '-----BEGIN CERTIFICATE----- of others'));
  await key.setInputFiles(file('phones.key', '-----BEGIN PRIVATE KEY-----'));
  await save.click();
  await page.getByText('no name leads to this box').waitFor();
  await focused(chain);
  await shot(page, 'certificate-refused');
  await chain.setInputFiles(file('phones.pem', '-----BEGIN CERTIFICATE----- of others'));
  await key.setInputFiles(file('phones.key', '-----BEGIN PRIVATE KEY-----'));
  await page.getByLabel('all the same').check();
  await save.click();
  await page.getByText('Phones are shown the new certificate from now on.').waitFor();
  await page.getByText('an administrator').waitFor();
  await shot(page, 'certificate-uploaded');
  await page.getByRole('button', { name: 'Take it away and order one' }).click();
  await page.getByText("Phones are shown the box's own certificate again.").waitFor();
  await page.getByRole('button', { name: 'Order one now' }).click();
  await page.getByText('A certificate is being ordered.').waitFor();
});

await step('add a phone that was not seen', async () => {
  await page.goto(`${PAGE}/phones`);
  await page.getByText('Add a phone that was not seen yet').click();
  await page.getByLabel('MAC address').fill('00:15');
  await page.getByRole('button', { name: 'Add phone' }).click();
  await page.getByText('Write the MAC address as 12 digits and letters').waitFor();
  await page.getByLabel('MAC address').fill('0000.5e00.5377');
  await page.getByRole('button', { name: 'Add phone' }).click();
  await page.waitForURL(`${PAGE}/phones/00:00:5e:00:53:77?done=added`);
  await shot(page, 'phone-added');
});

await step('roll an image out', async () => {
  await page.goto(`${PAGE}/phones`);
  await page.getByRole('link', { name: 'Firmware', exact: true }).click();
  await page.locator('[data-status][data-is=on]').waitFor();
  await page.getByText('1 of 14 phones run it').waitFor();
  await shot(page, 'firmware');
  const model = page.locator('article', { hasText: 'on 13 phone(s)' });
  await model.getByText('Roll an image out').click();
  await model.getByLabel('Goes first').selectOption({ index: 2 });
  await model.getByLabel('Phones at the same time').fill('3');
  await shot(page, 'firmware-form');
  await model.getByRole('button', { name: 'Begin the roll-out' }).click();
  await page.getByText('The roll-out has begun.').waitFor();
  await page.getByRole('button', { name: 'Go on' }).click();
  await page.getByText('The roll-out goes on.').waitFor();
  await page.getByLabel('Version', { exact: true }).fill('6.4.7.1');
  await page.getByLabel('File', { exact: true }).setInputFiles({ name: 'new.sip.ld', mimeType: 'application/octet-stream', buffer: Buffer.alloc(200 << 10) });
  await page.getByRole('button', { name: 'Add the file' }).click();
  await page.getByText('The file is kept.').waitFor();
  await check(page, 'firmware');
});

await step('older pages of a story', async () => {
  await page.goto(`${PAGE}/phones/00:04:f2:1c:20:11`);
  assert.equal(await page.locator('.step').count(), 100);
  await page.getByRole('link', { name: 'Older' }).click();
  await page.getByText('Older steps.').waitFor();
  await check(page, 'older steps');
});

await step('how calls sounded', async () => {
  await page.getByRole('link', { name: 'Calls', exact: true }).click();
  await page.waitForURL(`${PAGE}/calls`);
  await page.getByText('The fault lies between the called side and this box.').waitFor();
  await shot(page, 'calls');
});

await step('another DHCP server, and the word to go on beside it', async () => {
  await page.getByRole('link', { name: 'Network', exact: true }).click();
  await page.waitForURL(`${PAGE}/network`);
  await page.locator('[data-status][data-is=on]').waitFor();
  await page.getByText('00:00:5e:00:53:fe').waitFor();
  await page.getByText('room 12, socket B').waitFor();
  await shot(page, 'network');
  await page.getByText('Go on beside it').click();
  await shot(page, 'network-serve');
  await page.getByRole('button', { name: 'Make offers beside it' }).click();
  await page.waitForURL(`${PAGE}/network?done=serving`);
  await page.getByText('This box goes on beside it.').waitFor();
  assert.equal(await page.getByRole('button', { name: 'Make offers beside it' }).count(), 0);
});

await step('the network follows the box without a reload', async () => {
  await page.locator('[data-status][data-is=on]').waitFor();
  await page.evaluate(() => { window.sameDocument = true; });
  await tell('/rogue');
  await page.getByText('192.0.2.253').waitFor();
  await page.getByText('99 of 100 used').waitFor();
  assert.equal(await page.evaluate(() => window.sameDocument), true);
});

await step('find, sort and change leases', async () => {
  await page.getByRole('link', { name: 'Leases' }).click();
  await shot(page, 'leases');
  await page.getByLabel('Search').fill('192.0.2.10');
  await page.getByLabel('Sort by').selectOption({ label: 'Ends' });
  await page.getByRole('button', { name: 'Find' }).click();
  await page.getByText('1 to 7 of 7').waitFor();
  assert.match(await page.locator('.leases tbody tr').first().innerText(), /192\.0\.2\.103/);
  const laptop = page.locator('.leases tbody tr', { hasText: 'annas-laptop' });
  await laptop.getByText('Change').press('Enter'); // by keyboard
  await laptop.getByRole('button', { name: 'Reserve this address' }).click();
  await page.waitForURL(`${PAGE}/network/leases?q=192.0.2.10&sort=end&done=reserved`);
  await laptop.getByText('reserved').waitFor();
  await laptop.getByText('Change').click();
  await shot(page, 'leases-change');
  await laptop.getByRole('button', { name: 'End the reservation' }).click();
  await page.getByText('The reservation has ended.').waitFor();
  await laptop.getByText('Change').click();
  await laptop.getByRole('button', { name: 'End the lease' }).click();
  await page.getByText('The lease has ended.').waitFor();
  await laptop.getByText('ended').waitFor();
  await page.getByRole('link', { name: 'Yealink SIP-T46U' }).click();
  await page.waitForURL(PAGE + yealink);
});

await step('reserve an address for a device', async () => {
  await page.goto(`${PAGE}/network/leases`);
  await page.getByText('Reserve an address').click();
  await page.getByLabel('MAC address of the device').fill('0000.5e00.5388');
  await page.getByLabel('Address', { exact: true }).fill('192.0.2.20');
  await page.getByRole('button', { name: 'Reserve', exact: true }).click();
  await page.getByText('this address is reserved for another device already').waitFor();
  await focused(page.getByLabel('Address', { exact: true }));
  await shot(page, 'reserve-refused');
  await page.getByLabel('Address', { exact: true }).fill('192.0.2.21');
  await page.getByRole('button', { name: 'Reserve', exact: true }).click();
  await page.getByText('The address is reserved.').waitFor();
  await page.getByRole('button', { name: 'End the reservation of 192.0.2.21' }).waitFor();
});

await step('settings for another server, copied', async () => {
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write'], { origin: PAGE });
  await page.getByRole('link', { name: 'Other servers' }).click();
  await page.getByLabel('DHCP server').selectOption({ label: 'ISC dhcpd' });
  await page.getByLabel('VLAN for phones').fill('20');
  await page.getByLabel('Network that phones start in').fill('198.51.100.0/24');
  await page.getByRole('button', { name: 'Show the settings' }).click();
  await page.getByRole('heading', { name: 'patchbay-boot.conf' }).waitFor();
  await shot(page, 'snippets');
  await page.getByRole('button', { name: 'Copy' }).nth(1).click();
  await page.getByRole('button', { name: 'Copied' }).waitFor();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  assert.equal(copied, await page.locator('pre').nth(1).evaluate((e) => e.textContent));
  assert.match(copied, /vendor-class-identifier/);
});

await step('what other servers really answer', async () => {
  await page.getByLabel('This is the network that phones start in').check();
  await page.getByRole('button', { name: 'Ask as phones do' }).click();
  await page.getByText('Not all phones on eth1 find this box.').waitFor();
  await page.getByText('What was answered').nth(1).click();
  await page.getByText('taken', { exact: true }).nth(1).waitFor();
  assert.equal(await page.getByLabel('This is the network that phones start in').isChecked(), true);
  await shot(page, 'verification');
});

await step('change the password', async () => {
  const elsewhere = await open();
  await login(elsewhere);
  await page.goto(`${PAGE}/`);
  await page.getByRole('link', { name: 'Change it' }).click();
  const fill = async (old, fresh) => {
    await page.getByLabel('Password as it is').fill(old);
    await page.getByLabel('New password', { exact: true }).fill(fresh);
    await page.getByLabel('New password again').fill(fresh);
    await page.getByRole('button', { name: 'Change', exact: true }).click();
  };
  await fill('not this one', 'battery staple correct');
  await page.getByText('That is not the password.').waitFor();
  await shot(page, 'password-wrong');
  await fill(password, 'battery staple correct');
  await page.waitForURL(`${PAGE}/?done=password`);
  password = 'battery staple correct';
  await elsewhere.getByText('No longer live; reload the page').waitFor();
  await elsewhere.goto(`${PAGE}/lines`);
  await elsewhere.waitForURL(`${PAGE}/login?next=%2Flines`);
  await elsewhere.context().close();
});

await step('the dashboard follows the box without a reload', async () => {
  await page.goto(`${PAGE}/`);
  await page.locator('[data-status][data-is=on]').waitFor();
  await page.evaluate(() => { window.sameDocument = true; });
  await tell('/cut');
  await page.getByText('Not connected').waitFor();
  await page.getByText("The gateway can't be reached.").waitFor();
  assert.equal(await page.evaluate(() => window.sameDocument), true);
  await shot(page, 'dashboard-down');
});

await step('pages that are not there', async () => {
  await page.goto(`${PAGE}/nothing`);
  await shot(page, 'missing');
});

await step('in the dark', async () => {
  const dark = await open({ colorScheme: 'dark' });
  await login(dark);
  await dark.locator('[data-status][data-is=on]').waitFor();
  await shot(dark, 'dark-dashboard');
  for (const [name, path] of [['dark-phone', yealink], ['dark-phones', '/phones'], ['dark-firmware', '/firmware'], ['dark-line', '/lines/1'],
    ['dark-network', '/network'], ['dark-leases', '/network/leases'], ['dark-snippets', '/network/snippets?server=isc'], ['dark-source', '/source'], ['dark-certificate', '/certificate'], ['dark-overrides', '/overrides?scope=vendor/yealink'], ['dark-password', '/password']]) {
    await dark.goto(PAGE + path);
    await shot(dark, name);
  }
  await dark.goto(LANDING);
  await shot(dark, 'dark-landing');
  await dark.context().close();
});

await step('without script', async () => {
  const bare = await open({ javaScriptEnabled: false });
  bare.scriptless = true;
  await login(bare, yealink);
  await bare.getByLabel('Line', { exact: true }).nth(1).selectOption('');
  await bare.getByRole('button', { name: 'Assign the line of account 2' }).click();
  await bare.getByText('Nobody is signed in to that account any more.').waitFor();
  await check(bare, 'without script');
  await bare.goto(`${PAGE}/network/leases?q=192.0.2.102`);
  await bare.getByText('Change').click();
  await bare.getByRole('button', { name: 'End the lease' }).click();
  await bare.getByText('The lease has ended.').waitFor();
  await bare.goto(`${PAGE}/network/snippets?server=isc`);
  await bare.getByText('vendor-class-identifier').waitFor();
  assert.equal(await bare.getByRole('button', { name: 'Copy' }).count(), 0);
  await bare.getByRole('button', { name: 'Ask as phones do' }).click();
  await bare.getByText('Not all phones on eth1 find this box.').waitFor();
  await bare.context().close();
});

await step('text at twice its size', async () => {
  const large = await open({ viewport: { width: Math.round(width / 2), height: 600 } });
  if (width / 2 < 320) { // WCAG 2.2 §1.4.10 asks for 320 px and not for less
    await large.setViewportSize({ width: 320, height: 600 });
  }
  await login(large);
  for (const path of ['/', '/phones', '/firmware', yealink, '/lines', '/lines/1', '/network', '/network/leases', '/network/snippets?server=isc&vlan=20', '/overrides?scope=vendor/yealink', '/source', '/certificate', '/password']) {
    await large.goto(PAGE + path);
    await check(large, `${path} enlarged`);
  }
  await large.context().close();
});

await step('a login that ended is told on the open page', async () => {
  const second = await page.context().newPage();
  await page.goto(PAGE + yealink);
  await page.locator('[data-status][data-is=on]').waitFor();
  await second.goto(`${PAGE}/`);
  await second.getByRole('button', { name: 'Sign out' }).click();
  await page.getByText('No longer live; reload the page').waitFor();
  page.faults = page.faults.filter((f) => !f.includes('401')); // the stream was refused, as it should be
  await check(page, 'ended login');
  await second.close();
});

await step(`${VECTORS} hostile names on every page`, async () => {
  await login(page);
  // All at the width where room is short; a sample where there is plenty.
  for (let n = width < 600 ? 0 : 3; n < Number(VECTORS); n += width < 600 ? 1 : 4) {
    const text = await tell(`/poison/${n}`);
    for (const path of ['/', '/phones', '/firmware', yealink, '/lines', '/lines/1', '/network', '/network/leases', '/network/snippets?server=isc&vlan=20', '/overrides?scope=vendor/yealink', '/source', '/certificate']) {
      await page.goto(PAGE + path);
      await check(page, `${path} with ${text}`);
    }
  }
  // The live way of the same strings: put in by script.
  await page.goto(PAGE + yealink);
  await page.locator('[data-status][data-is=on]').waitFor();
  for (let n = 0; n < Number(VECTORS); n++) await tell(`/poison/${n}`);
  await page.waitForTimeout(2500);
  await check(page, 'live hostile names');
  await shot(page, 'hostile');
});

await browser.close();
