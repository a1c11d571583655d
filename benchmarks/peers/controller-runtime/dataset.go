package main

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var version = schema.GroupVersion{Group: "neptune.io", Version: "v1alpha1"}

// Dataset has the fields of the custom resource, as controller-gen would have them written.
type Dataset struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              DatasetSpec   `json:"spec"`
	Status            DatasetStatus `json:"status,omitempty"`
}

type DatasetSpec struct {
	URL      string `json:"url"`
	Format   string `json:"format"`
	NodeName string `json:"nodeName,omitempty"`
}

type DatasetStatus struct {
	NumberOfSamples *int64             `json:"numberOfSamples,omitempty"`
	UpdateTime      *metav1.Time       `json:"updateTime,omitempty"`
	Conditions      []metav1.Condition `json:"conditions,omitempty"`
}

type DatasetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Dataset `json:"items"`
}

func addToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(version, &Dataset{}, &DatasetList{})
	metav1.AddToGroupVersion(scheme, version)
	return nil
}

func (d *Dataset) DeepCopyObject() runtime.Object {
	copied := *d
	d.ObjectMeta.DeepCopyInto(&copied.ObjectMeta)
	if d.Status.NumberOfSamples != nil {
		number := *d.Status.NumberOfSamples
		copied.Status.NumberOfSamples = &number
	}
	copied.Status.UpdateTime = d.Status.UpdateTime.DeepCopy()
	copied.Status.Conditions = append([]metav1.Condition(nil), d.Status.Conditions...)
	return &copied
}

func (l *DatasetList) DeepCopyObject() runtime.Object {
	copied := *l
	l.ListMeta.DeepCopyInto(&copied.ListMeta)
	copied.Items = make([]Dataset, 0, len(l.Items))
	for i := range l.Items {
		copied.Items = append(copied.Items, *l.Items[i].DeepCopyObject().(*Dataset))
	}
	return &copied
}
