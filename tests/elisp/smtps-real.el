;;; smtps-real.el --- A world of its own with the helper and a sandbox  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; What tests share that need the real helper and a real server.

;;; Code:

(require 'ert)
(require 'cl-lib)
(require 'auth-source)
(require 'message)
(require 'smtps)
(require 'smtps-accounts-file)
(require 'smtps-send)
(require 'smtps-helper)

(defvar smtps-real-home nil
  "The home directory of the running test.")

(defvar smtps-real-sandbox nil
  "The report of the sandbox of the running test.")

(defvar smtps-real-sandbox-words nil
  "Options that the sandbox of a test is started with.")

(defvar smtps-real-told nil
  "The sentences that were told, last first.")

(defvar smtps-real-answers nil
  "What a person answers to the questions that come, the next first.")

(defvar smtps-real-questions nil
  "The questions that a person was asked, last first.")

(defmacro smtps-real-until (condition)
  "Wait, at most 20 seconds, until CONDITION is non-nil; return its value."
  (declare (debug t))
  `(let ((deadline (time-add nil 20)) value)
     (while (not (or (setq value ,condition) (time-less-p deadline nil)))
       (accept-process-output nil 0.05))
     (unless value
       (ert-fail (list ',condition smtps-real-told)))
     value))

(defun smtps-real-ended-p (name)
  "Return non-nil if no process whose name begins with NAME runs."
  (not (cl-find-if (lambda (process)
                     (and (string-prefix-p name (process-name process))
                          (process-live-p process)))
                   (process-list))))

(defun smtps-real-answer (prompt &rest _)
  "Answer PROMPT by the next of `smtps-real-answers'."
  (push prompt smtps-real-questions)
  (unless smtps-real-answers
    (ert-fail (list "Asked" prompt)))
  (let ((answer (pop smtps-real-answers)))
    (if (functionp answer) (funcall answer) (copy-sequence answer))))

(defmacro smtps-real-with (&rest body)
  "Evaluate BODY with a home, the helper and a sandbox that end with it.
A person is there, and answers as `smtps-real-answers' says."
  (declare (indent 0) (debug t))
  `(let* ((smtps-real-home (file-name-as-directory (make-temp-file "smtps-home" t)))
          (process-environment
           (append (list (concat "HOME=" (directory-file-name smtps-real-home))
                         "XDG_CONFIG_HOME" "XDG_DATA_HOME" "XDG_STATE_HOME")
                   process-environment))
          (abbreviated-home-dir nil)
          (default-directory smtps-real-home)
          (smtps-outbox-directory (expand-file-name "outbox" smtps-real-home))
          (auth-sources (list (expand-file-name ".authinfo" smtps-real-home)))
          (smtps-accounts nil)
          (smtps-accounts-file--known nil)
          (smtps-real-told nil)
          (smtps-real-answers nil)
          (smtps-real-questions nil)
          (smtps-send-tell-function
           (lambda (sentence) (push sentence smtps-real-told)))
          (smtps-send--told nil)
          (smtps-send--waiting nil)
          (smtps-send--again nil)
          (smtps-send--trouble nil)
          (smtps-credentials--memory nil)
          (smtps-credentials--wanted nil)
          (smtps-credentials--passphrases nil)
          (smtps-credentials--given nil)
          (smtps-credentials--keys-wanted nil)
          (noninteractive nil)
          (user-full-name "Me")
          (user-mail-address "from-address@poste.it")
          (message-send-mail-function #'smtps-send-it)
          (message-auto-save-directory nil)
          (message-confirm-send nil)
          (message-signature nil)
          (before (buffer-list))
          (smtps-real-sandbox (apply #'smtps-sandbox-start smtps-real-sandbox-words)))
     (auth-source-forget-all-cached)
     (save-window-excursion
       (unwind-protect
           (cl-letf (((symbol-function 'smtps-credentials--can-ask-p) #'always)
                     ((symbol-function 'smtps-trust--can-ask-p) #'always)
                     ((symbol-function 'read-passwd) #'smtps-real-answer)
                     ((symbol-function 'completing-read) #'smtps-real-answer))
             ,@body)
         (dolist (buffer (buffer-list))
           (unless (or (memq buffer before)
                       (string-prefix-p " " (buffer-name buffer)))
             (with-current-buffer buffer
               (set-buffer-modified-p nil)
               (setq buffer-file-name nil))
             (let ((kill-buffer-query-functions nil))
               (kill-buffer buffer))))
         (smtps-helper-stop)
         (smtps-sandbox-stop)
         (smtps-real-until (and (smtps-real-ended-p "smtps-helper")
                                (smtps-real-ended-p "smtps-sandbox")))
         (auth-source-forget-all-cached)
         (delete-directory smtps-real-home t)))))

(defun smtps-real-property (key)
  "Return the KEY of the sandbox's report."
  (plist-get smtps-real-sandbox key))

(defun smtps-real-account (&rest plist)
  "Have one account, with PLIST before the properties of the sandbox."
  (setq smtps-accounts
        (list (cons "sandbox"
                    (append plist
                            (list :host "localhost"
                                  :port (smtps-real-property :port)
                                  :user (smtps-real-property :user)))))))

(defun smtps-real-client-key ()
  "Make a client's certificate and its key in the home; return their names.
The passphrase of the key is pässphrase."
  (let ((program "
import sys, trustme
from cryptography.hazmat.primitives import serialization as s
made = trustme.CA().issue_cert('client@x.example')
key = s.load_pem_private_key(made.private_key_pem.bytes(), None)
open('cert.pem', 'wb').write(made.cert_chain_pems[0].bytes())
open('key.pem', 'wb').write(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8,
    s.BestAvailableEncryption('pässphrase'.encode())))
"))
    (let ((default-directory smtps-real-home))
      (should (eql 0 (call-process (car (smtps-helper-program)) nil nil nil
                                   "-c" program))))
    (list (expand-file-name "cert.pem" smtps-real-home)
          (expand-file-name "key.pem" smtps-real-home))))

(defun smtps-real-authinfo (&rest lines)
  "Write LINES into ~/.authinfo."
  (let ((coding-system-for-write 'utf-8-unix))
    (write-region (concat (string-join lines "\n") "\n") nil
                  (car auth-sources) nil 'silent))
  (auth-source-forget-all-cached))

(defun smtps-real-send (&optional subject)
  "Send a mail with SUBJECT, from the account's user."
  (message-mail "to-address@other-host.it" (or subject "Interactive attempt"))
  (message-goto-body)
  (insert "Text for interactive attempt.\n")
  (message-send))

(defun smtps-real-state ()
  "Return the list of the states of the mails in the outbox."
  (mapcar (lambda (entry) (plist-get entry :state)) (smtps-outbox-entries)))

(defun smtps-real-told-p (regexp)
  "Return the sentence that was told and matches REGEXP, or nil."
  (cl-find-if (lambda (sentence) (string-match-p regexp sentence))
              smtps-real-told))

(defun smtps-real-file (name)
  "Return the text of the file NAME below the home, or nil if there is none."
  (let ((file (expand-file-name name smtps-real-home)))
    (when (file-exists-p file)
      (with-temp-buffer
        (insert-file-contents file)
        (buffer-string)))))

(provide 'smtps-real)
;;; smtps-real.el ends here
