// Keyv's own test suite, as its README says to run it, with the iterator's part, which adapters run that have one.

import keyvTestSuite, { keyvIteratorTests } from '@keyv/test-suite';
import { Keyv } from 'keyv';
import * as test from 'vitest';
import { KeyvMemCloud } from '../dist/adapters/keyv.mjs';
import { MemCloud } from '../dist/index.mjs';

const client = new MemCloud({ socketPath: test.inject('socketPath') });
test.afterAll(() => client.close());

const store = () => new KeyvMemCloud({ client });
keyvTestSuite(test, Keyv, store);
keyvIteratorTests(test, Keyv, store);
