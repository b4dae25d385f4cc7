// Verify a bundle with the npm package @sigstore/verify and one trusted public key.
//
//     node verify.mjs BUNDLE PUBLIC_KEY_PEM HINT
//
// Prints the payload type and exits with 0, or says why not and exits with 1.
import { createPublicKey } from "node:crypto";
import { readFileSync } from "node:fs";

import { bundleFromJSON } from "@sigstore/bundle";
import { Verifier, toSignedEntity, toTrustMaterial } from "@sigstore/verify";

const [bundlePath, keyPath, hint] = process.argv.slice(2);
const der = createPublicKey(readFileSync(keyPath)).export({ format: "der", type: "spki" });
const roots = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] };
const trust = toTrustMaterial(roots, {
  [hint]: { rawBytes: der, keyDetails: "PKIX_ECDSA_P256_SHA_256" },
});
try {
  const bundle = bundleFromJSON(JSON.parse(readFileSync(bundlePath, "utf8")));
  const none = { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0, tsaThreshold: 0 };
  const verifier = new Verifier(trust, none);
  verifier.verify(toSignedEntity(bundle));
  console.log(bundle.content.dsseEnvelope.payloadType);
} catch (error) {
  console.error(`${error.code ?? error.name}: ${error.message}`);
  process.exit(1);
}
