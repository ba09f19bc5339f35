package push

import (
	"context"
	"time"

	"sendonce"
	"sendonce/indexdb"
	"sendonce/proxy/metrics"
	"sendonce/proxy/vault"
)

// batchPatience is how long packs are gathered for one durable write, unless a
// commit waits for them.
const batchPatience = time.Second

// putResult is the outcome of one durable write of packs.
type putResult struct {
	packs []*pack
	err   error
}

// takeBatch empties the batch.
func (p *push) takeBatch() []*pack {
	batch := p.batch
	p.batch, p.batchSize = nil, 0
	p.batchDue.stop()
	return batch
}

// startPut makes packs durable, first in the store, then in the index together
// with the device's receipts, while the next ones arrive.
func (p *push) startPut(packs []*pack) {
	p.putting = true
	go func() {
		rows, err := p.putPacks(packs, nil)
		if err == nil {
			err = p.s.env.Index.AddStored(p.work, p.who.Tenant, p.who.Device, rows)
		}
		p.puts <- putResult{packs, err}
	}()
}

// putPacks writes packs and page packs to the store in one durable step and
// returns where every chunk and page is.
func (p *push) putPacks(packs []*pack, pages []vault.Pack) ([]indexdb.Stored, error) {
	all := make([]vault.Pack, 0, len(packs)+len(pages))
	for _, k := range packs {
		all = append(all, vault.Pack{IDs: k.ids, Sizes: k.sizes, Encoding: k.encoding, Payload: k.payload, Record: k.record})
	}
	return p.s.vault.Put(p.work, p.who.Tenant, append(all, pages...))
}

// counted is a Vault whose writes are counted.
type counted struct {
	Vault
	metrics *metrics.Metrics
}

// Put implements Vault.
func (c counted) Put(ctx context.Context, tenant sendonce.TenantID, packs []vault.Pack) ([]indexdb.Stored, error) {
	rows, err := c.Vault.Put(ctx, tenant, packs)
	if err != nil {
		c.metrics.StoreErrors.Add(1)
		return nil, err
	}
	c.metrics.StoredPacks.Add(int64(len(packs)))
	return rows, nil
}

// stored takes the outcome of startPut: what is durable is acknowledged, and
// from now on the index answers for it.
func (p *push) stored(r putResult) error {
	p.putting = false
	return p.acknowledge(r)
}

func (p *push) acknowledge(r putResult) error {
	ops := make([]uint64, 0, len(r.packs))
	for _, k := range r.packs {
		if r.err == nil {
			ops = append(ops, k.op)
			for _, id := range k.ids {
				if p.chunks[id] == arrived {
					delete(p.chunks, id)
				}
			}
		}
		p.release(k)
	}
	if r.err != nil {
		// Nothing of this batch is acknowledged. The push ends; the device opens
		// it again and sends what it has no acknowledgement for.
		return storeFailed(r.err)
	}
	for _, ack := range p.acks.add(ops) {
		if err := p.send(ack); err != nil {
			return err
		}
	}
	return nil
}

func storeFailed(err error) error {
	return &sendonce.Error{Op: "store packs", Err: err, Hint: hintFor(err)}
}

func hintFor(err error) string {
	if h := sendonce.HintOf(err); h != "" {
		return h
	}
	if sendonce.KindOf(err) == sendonce.KindFull {
		return "make room on the server; what was acknowledged is safe, and the push goes on where it stopped"
	}
	return ""
}
