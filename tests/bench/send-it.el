;;; send-it.el --- How long smtps-send-it keeps Emacs  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; emacs -Q --batch -L COMPILED -l send-it.el MEGABYTES RUNS prints three
;; medians in milliseconds: `smtps-send-it' without the disk and garbage
;; collection, the disk (writing and flushing), and garbage collection.

;;; Code:

(require 'cl-lib)
(require 'message)
(require 'smtps-send)
(require 'smtps-helper)

(defvar smtps-bench-disk 0
  "Seconds that the disk took.")

(defun smtps-bench-on-disk (function &rest arguments)
  "Apply FUNCTION to ARGUMENTS, and count the time as the disk's."
  (let ((begun (current-time)))
    (prog1 (apply function arguments)
      (cl-incf smtps-bench-disk (float-time (time-since begun))))))

(defun smtps-bench-mail ()
  "Send the mail in the current buffer; return three times in milliseconds.
They are Emacs's own, the disk's, and that of garbage collection."
  (garbage-collect)
  (let ((collected gc-elapsed)
        (begun (current-time)))
    (setq smtps-bench-disk 0)
    ;; In batch it would wait for the fate.
    (let ((noninteractive nil))
      (smtps-send-it))
    (let ((taken (float-time (time-since begun)))
          (collected (- gc-elapsed collected)))
      (mapcar (lambda (seconds) (* 1000 seconds))
              (list (- taken collected smtps-bench-disk) smtps-bench-disk collected)))))

(defun smtps-bench-median (numbers)
  "Return the median of NUMBERS."
  (nth (/ (length numbers) 2) (sort (copy-sequence numbers) #'<)))

(advice-add 'smtps-outbox--write-file :around #'smtps-bench-on-disk)
(advice-add 'smtps-outbox--sync :around #'smtps-bench-on-disk)

(let* ((megabytes (string-to-number (pop command-line-args-left)))
       (runs (string-to-number (pop command-line-args-left)))
       (root (make-temp-file "smtps-bench" t))
       (smtps-outbox-directory (expand-file-name "outbox" root))
       (smtps-accounts '(("bench" :host "mx.example.org")))
       ;; Started, as it would be, and told; it sends nothing.
       (smtps-helper-command '("cat"))
       (smtps-send-tell-function #'ignore)
       (auth-sources nil)
       (inhibit-message t)
       times)
  (unwind-protect
      (with-temp-buffer
        (rename-buffer " message temp")
        (set-buffer-multibyte nil)
        (insert "From: ann@example.org\nTo: bob@example.org\nSubject: x\n"
                "Message-ID: <x@example.org>\nMIME-Version: 1.0\n"
                mail-header-separator "\n")
        (dotimes (_ (/ (* megabytes 1000000) 77))
          (insert (make-string 76 ?x) "\n"))
        (dotimes (_ runs)
          (push (smtps-bench-mail) times)))
    (delete-directory root t))
  (princ (mapconcat (lambda (n)
                      (format "%.2f" (smtps-bench-median
                                      (mapcar (apply-partially #'nth n) times))))
                    '(0 1 2) " ")))

;;; send-it.el ends here
