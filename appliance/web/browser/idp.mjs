// An identity provider to test against: oidc-provider with the device grant
// (RFC 8628) and its own pages for login and consent, on a free port of
// loopback. Prints its issuer on a line. Any user name signs in.
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const device = 'urn:ietf:params:oauth:grant-type:device_code';
const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'patchbay', token_endpoint_auth_method: 'none', application_type: 'native',
      grant_types: [device, 'authorization_code', 'refresh_token'], response_types: ['code'],
      redirect_uris: [process.env.REDIRECT || 'http://127.0.0.1/pair-back'],
    }],
    features: { deviceFlow: { enabled: true }, devInteractions: { enabled: true } },
    claims: { openid: ['sub', 'preferred_username'] },
    conformIdTokenClaims: false,
    cookies: { keys: ['test'] },
    ttl: { DeviceCode: Number(process.env.LIFE || 600), AccessToken: Number(process.env.TOKEN_LIFE || 3600) },
    findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id, preferred_username: id }) }),
  });
  server.on('request', provider.callback());
  console.log(`issuer ${issuer}`);
});
