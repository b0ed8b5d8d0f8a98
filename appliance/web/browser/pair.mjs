// An administrator lets a user sign in at a phone, and the user does so at a
// real identity provider, at one width. TestBrowserPairing starts it.
import { chromium } from 'playwright-core';
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { judge } from './judge.mjs';

const { WIDTH, PAGE, CODE, PASSWORD, PHONE, ANSWER, STAY, PATCHBAY_SHOTS, PATCHBAY_CHROMIUM } = process.env;
const width = Number(WIDTH);
const browser = await chromium.launch({
  executablePath: PATCHBAY_CHROMIUM || '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const context = await browser.newContext({ viewport: { width, height: width < 600 ? 740 : 900 }, ignoreHTTPSErrors: true });
const page = await context.newPage();
page.setDefaultTimeout(30_000);

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

const shot = async (name) => {
  assert.deepEqual(await page.evaluate(judge), [], name);
  if (PATCHBAY_SHOTS) await page.screenshot({ path: join(PATCHBAY_SHOTS, `${name}-${width}.png`), fullPage: true });
};

await step('set up or log in', async () => {
  await page.goto(`${PAGE}/phones/${PHONE}`);
  if (page.url().includes('/setup')) {
    await page.getByLabel('Set-up code').fill(CODE);
    await page.getByLabel('New password', { exact: true }).fill(PASSWORD);
    await page.getByLabel('New password again').fill(PASSWORD);
    await page.getByRole('button', { name: 'Set up' }).click();
    await page.getByText('The box is yours.').waitFor();
  } else {
    await page.getByLabel('Password').fill(PASSWORD);
    await page.getByRole('button', { name: 'Sign in' }).click();
  }
  await page.goto(`${PAGE}/phones/${PHONE}`);
});

let address; let code;
await step('the page shows address, code and QR code', async () => {
  await page.getByRole('button', { name: 'Let a user sign in on account 1' }).click();
  await page.waitForURL(`${PAGE}/phones/${PHONE}/pairing/1`);
  code = await page.locator('.pair-code').innerText();
  address = await page.getByRole('link', { name: 'http' }).first().getAttribute('href');
  assert.match(code, /^[A-Z]{4}-[A-Z]{4}$/);
  const qr = page.getByAltText('QR code of the address with the code');
  await qr.waitFor();
  assert.ok(await qr.evaluate((i) => i.complete && i.naturalWidth > 0), 'the QR code is drawn');
  await shot('pairing');
});

const user = await (await browser.newContext()).newPage();
user.setDefaultTimeout(30_000);
await step('the user enters the code at the identity provider', async () => {
  await user.goto(address);
  await user.locator('input[name=user_code]').fill(code.toLowerCase());
  await user.getByRole('button', { name: 'Continue' }).click();
  if (ANSWER === 'deny') {
    await user.getByRole('button', { name: 'Abort' }).click();
    return;
  }
  await user.getByRole('button', { name: 'Continue' }).click();
  await user.locator('input[name=login]').fill('anna@example.com');
  await user.locator('input[name=password]').fill('x');
  await user.getByRole('button', { name: 'Sign-in' }).click();
  await user.getByRole('button', { name: 'Continue' }).click();
  await user.getByText('Sign-in Success').waitFor();
});

await step('the page says by itself what became of it', async () => {
  if (ANSWER === 'deny') {
    await page.getByText('Nobody was signed in.').waitFor();
    await page.getByText('said no').waitFor();
  } else {
    await page.getByText('Anna is signed in at the phone.').waitFor();
    await page.goto(`${PAGE}/phones/${PHONE}`);
    await page.getByText('Signed in by anna@example.com').waitFor();
    await shot('signed-in');
    for (const path of ['/enrol', '/enrol/sheets', '/enrol/actions', '/audit', '/policy', '/lines']) {
      await page.goto(PAGE + path);
      await shot(`page${path.replaceAll('/', '-')}`);
    }
    if (STAY) return;
    await page.goto(`${PAGE}/phones/${PHONE}`);
    await page.getByRole('button', { name: 'Sign account 1 out' }).click();
    await page.getByText('Signed out. Calls in progress go on.').waitFor();
  }
});

await browser.close();
