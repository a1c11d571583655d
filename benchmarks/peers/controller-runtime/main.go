// The peer of the benchmarks on controller-runtime. Without arguments it is the trivial reconciler of the storm: a
// status is the length of the url, written only when it differs. With -cache it is an informer alone, which says on
// its output when it has listed and when it has seen the object named last.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const workers = 32

func main() {
	onlyCache := flag.Bool("cache", false, "fill a cache and reconcile nothing")
	priorities := flag.Bool("priorities", true, "use the priority queue, as controller-runtime does by default")
	flag.Parse()
	log.SetLogger(zap.New())
	run := func(ctx context.Context, scheme *runtime.Scheme) error { return reconcileAll(ctx, scheme, *priorities) }
	if *onlyCache {
		run = fillCache
	}
	scheme := runtime.NewScheme()
	must(addToScheme(scheme))
	must(run(ctrl.SetupSignalHandler(), scheme))
}

func reconcileAll(ctx context.Context, scheme *runtime.Scheme, priorities bool) error {
	manager, err := ctrl.NewManager(ctrl.GetConfigOrDie(), ctrl.Options{
		Scheme:  scheme,
		Metrics: server.Options{BindAddress: "0"},
	})
	if err != nil {
		return err
	}
	err = ctrl.NewControllerManagedBy(manager).
		For(&Dataset{}).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers, UsePriorityQueue: &priorities}).
		Complete(&reconciler{manager.GetClient()})
	if err != nil {
		return err
	}
	return manager.Start(ctx)
}

type reconciler struct {
	client.Client
}

func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var dataset Dataset
	if err := r.Get(ctx, request.NamespacedName, &dataset); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	wanted := int64(len(dataset.Spec.URL))
	if dataset.Status.NumberOfSamples != nil && *dataset.Status.NumberOfSamples == wanted {
		return ctrl.Result{}, nil
	}
	before := dataset.DeepCopyObject().(*Dataset)
	dataset.Status.NumberOfSamples = &wanted
	return ctrl.Result{}, r.Status().Patch(ctx, &dataset, client.MergeFrom(before))
}

func fillCache(ctx context.Context, scheme *runtime.Scheme) error {
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(version.WithKind("Dataset"), meta.RESTScopeNamespace)
	datasets, err := cache.New(ctrl.GetConfigOrDie(), cache.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		return err
	}
	informer, err := datasets.GetInformer(ctx, &Dataset{}, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{AddFunc: func(obj any) {
		if obj.(*Dataset).Name == "last" {
			fmt.Println("done")
		}
	}})
	if err != nil {
		return err
	}
	go func() {
		if datasets.WaitForCacheSync(ctx) {
			fmt.Println("synced")
		}
	}()
	return datasets.Start(ctx)
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
