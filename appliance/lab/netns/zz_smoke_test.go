//go:build lab

package netns

import "testing"
import "time"
import "fmt"

func TestSmoke(t *testing.T) {
	n := newNetwork(t)
	_, k := startCloud(t, n)
	out, err := n.try(5*time.Second, "box", "openssl", "s_client", "-connect", cloud+":5061", "-brief")
	fmt.Println(out, err)
	fmt.Println(n.try(3*time.Second, "wan", "ping", "-c1", "-W1", boxWAN))
	fmt.Println(k.out.String())
}
